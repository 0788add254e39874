"""What two do to one account at the same time."""

from uuid import UUID, uuid4

import pytest

from backend.accounts.service import AccountService
from backend.db.engine import Database
from backend.db.tables import User
from backend.security.sessions import Sessions


@pytest.fixture
def accounts(either_database: Database) -> AccountService:
    return AccountService(
        either_database, "secret", base_url="http://127.0.0.1", password_hashing="owasp"
    )


async def new_user(database: Database) -> UUID:
    user_id = uuid4()
    async with database.write_transaction():
        await User.insert(
            User(id=user_id, username="u", password_hash="before", token_hash=user_id.hex)
        )
    return user_id


async def test_a_password_is_not_changed_by_who_knew_the_one_before(
    either_database: Database, accounts: AccountService
) -> None:
    sessions = Sessions(either_database, idle_seconds=60)
    user_id = await new_user(either_database)
    assert await accounts.set_password(user_id, "given by a superuser", was="before")
    (row,) = await User.select(User.password_hash)
    secret = await sessions.open(user_id)
    assert secret is not None

    assert not await accounts.set_password(user_id, "by a thief", was="before")

    assert await User.select(User.password_hash) == [row]
    assert await sessions.find(secret) is not None


async def test_each_token_is_another_and_the_last_one_counts(
    either_database: Database, accounts: AccountService
) -> None:
    user_id = await new_user(either_database)

    tokens = [await accounts.token(user_id)] + [
        await accounts.replace_token(user_id) for _ in range(3)
    ]

    assert len(set(tokens)) == 4
    assert await accounts.token(user_id) == tokens[-1]
