"""How long sessions last, and what the database is asked about them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import Session, User
from backend.errors import DatabaseUnavailable
from backend.security import sessions as sessions_module
from backend.security.sessions import (
    LIFETIME,
    RENEWALS_PER_IDLE_TIME,
    SessionOwner,
    Sessions,
    csrf_token,
    end_sessions,
    hash_secret,
)

IDLE = timedelta(hours=12)
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'some.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    database = Database(url)
    await database.open()
    await migrate()
    yield database
    await database.close()


@pytest.fixture
def sessions(database: Database) -> Sessions:
    return Sessions(database, idle_seconds=IDLE.total_seconds())


async def new_user(database: Database, **fields: object) -> UUID:
    user_id = uuid4()
    row = User(
        id=user_id, username=user_id.hex, password_hash="h", token_hash=user_id.hex, **fields
    )
    async with database.write_transaction():
        await User.insert(row)
    return user_id


async def opened(sessions: Sessions, user_id: UUID) -> str:
    secret = await sessions.open(user_id)
    assert secret is not None
    return secret


async def shift(database: Database, secret: str, *, by: timedelta) -> None:
    """Make a session as old as if so much time had passed."""
    row = await Session.objects().get(Session.secret_hash == hash_secret(secret))
    assert row is not None
    async with database.write_transaction():
        await Session.update(
            {Session.created_at: row.created_at - by, Session.expires_at: row.expires_at - by}
        ).where(Session.id == row.id)


async def lasts_for(secret: str) -> timedelta:
    row = await Session.objects().get(Session.secret_hash == hash_secret(secret))
    assert row is not None
    left: timedelta = row.expires_at - datetime.now(UTC)
    return left


async def test_a_session_is_found_with_its_user(database: Database, sessions: Sessions) -> None:
    user_id = await new_user(database, superuser=True)
    secret = await opened(sessions, user_id)

    found = await sessions.find(secret)

    assert found is not None
    assert (found.id, found.username, found.superuser, found.active) == (
        user_id,
        user_id.hex,
        True,
        True,
    )
    assert await sessions.find(secret + "x") is None
    assert await sessions.find(hash_secret(secret)) is None


async def test_a_session_that_is_not_used_is_over(database: Database, sessions: Sessions) -> None:
    secret = await opened(sessions, await new_user(database))
    await shift(database, secret, by=IDLE + MINUTE)

    assert await sessions.find(secret) is None


async def test_a_session_that_is_used_goes_on(database: Database, sessions: Sessions) -> None:
    secret = await opened(sessions, await new_user(database))

    for _ in range(5):
        await shift(database, secret, by=IDLE - MINUTE)
        assert await sessions.find(secret) is not None
        assert IDLE - MINUTE < await lasts_for(secret) <= IDLE


async def test_no_session_is_longer_than_a_month(database: Database, sessions: Sessions) -> None:
    secret = await opened(sessions, await new_user(database))
    days = 0
    while await sessions.find(secret) is not None:
        assert days * 0.5 <= LIFETIME.days
        await shift(database, secret, by=timedelta(hours=11, minutes=59))
        days += 1

    assert days == 2 * LIFETIME.days + 1


async def test_a_session_is_rarely_written(
    database: Database, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await opened(sessions, await new_user(database))
    renewed = []
    renew = sessions._renew

    async def counted(secret_hash: str, expires_at: datetime) -> None:
        renewed.append(expires_at)
        await renew(secret_hash, expires_at)

    monkeypatch.setattr(sessions, "_renew", counted)
    await asyncio.gather(*(sessions.find(secret) for _ in range(50)))
    assert renewed == []

    await shift(database, secret, by=IDLE / RENEWALS_PER_IDLE_TIME + MINUTE)
    assert await sessions.find(secret) is not None
    assert await sessions.find(secret) is not None
    assert len(renewed) == 1


async def test_a_session_is_not_renewed_by_what_a_page_asks_by_itself(
    database: Database, sessions: Sessions
) -> None:
    secret = await opened(sessions, await new_user(database))
    await shift(database, secret, by=IDLE / 2)
    assert await sessions.find(secret, renewing=False) is not None
    assert await lasts_for(secret) < IDLE / 2 + MINUTE
    assert await sessions.find(secret) is not None
    assert await lasts_for(secret) > IDLE - MINUTE


async def test_who_only_reads_is_let_in_although_nothing_can_be_written(
    database: Database, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await opened(sessions, await new_user(database))
    await shift(database, secret, by=IDLE / 2)

    def fails() -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(database, "write_transaction", fails)
        assert await sessions.find(secret) is not None
    assert await sessions.find(secret) is not None
    assert await lasts_for(secret) > IDLE - MINUTE


async def test_many_requests_share_few_queries(
    database: Database, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = [await opened(sessions, await new_user(database)) for _ in range(20)]
    asked = []
    load = sessions_module._owners

    async def counted(hashes: Collection[str]) -> dict[str, SessionOwner]:
        asked.append(len(hashes))
        return await load(hashes)

    monkeypatch.setattr(sessions_module, "_owners", counted)
    fresh = Sessions(database, idle_seconds=IDLE.total_seconds())
    found = await asyncio.gather(*(fresh.find(secret) for secret in secrets * 3))

    assert all(found)
    assert sum(asked) < len(secrets) * 3
    assert len(asked) <= 3


async def test_what_has_expired_is_swept(database: Database, sessions: Sessions) -> None:
    user_id = await new_user(database)
    over, open_ = await opened(sessions, user_id), await opened(sessions, user_id)
    await shift(database, over, by=IDLE + MINUTE)

    assert await sessions.sweep() == 1
    assert await sessions.sweep() == 0
    assert await Session.count() == 1
    assert await sessions.find(open_) is not None


async def test_who_was_disabled_or_has_another_password_meanwhile_gets_no_session(
    database: Database, sessions: Sessions
) -> None:
    disabled = await new_user(database, active=False)
    changed = await new_user(database)

    assert await sessions.open(disabled) is None
    assert await sessions.open(changed, password_hash="another") is None
    assert await sessions.open(uuid4()) is None
    assert await Session.count() == 0
    assert await sessions.open(changed, password_hash="h") is not None


async def test_a_session_that_another_replaces_is_over(
    database: Database, sessions: Sessions
) -> None:
    user_id = await new_user(database)
    before = await opened(sessions, user_id)
    after = await sessions.open(user_id, replacing=before)

    assert after is not None
    assert await sessions.find(before) is None
    assert await sessions.find(after) is not None


async def test_all_sessions_of_a_user_end_but_the_one_that_is_kept(
    database: Database, sessions: Sessions
) -> None:
    user_id, other_id = await new_user(database), await new_user(database)
    kept, ended = await opened(sessions, user_id), await opened(sessions, user_id)
    other = await opened(sessions, other_id)

    async with database.write_transaction():
        await end_sessions(user_id, but=hash_secret(kept))
    assert [bool(await sessions.find(one)) for one in (kept, ended, other)] == [True, False, True]

    async with database.write_transaction():
        await end_sessions(user_id)
    assert [bool(await sessions.find(one)) for one in (kept, other)] == [False, True]


async def test_a_session_goes_with_its_user(database: Database, sessions: Sessions) -> None:
    user_id = await new_user(database)
    await opened(sessions, user_id)
    async with database.write_transaction():
        await User.delete().where(User.id == user_id)

    assert await Session.count() == 0


def test_the_csrf_token_tells_nothing_about_the_secret() -> None:
    secret = "s" * 43

    assert csrf_token(secret) == csrf_token(secret)
    assert csrf_token(secret) not in {csrf_token("t" * 43), secret, hash_secret(secret)}
