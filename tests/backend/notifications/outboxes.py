"""An outbox of a test's own: users and notifications, written as the server writes them."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

from backend.db.engine import Database
from backend.db.tables import User
from backend.notifications.outbox import NotificationType, enqueue

TRAINING = uuid4()


async def new_users(database: Database, count: int, endpoint: str = "") -> list[UUID]:
    """Ids of users with this endpoint."""
    ids = [uuid4() for _ in range(count)]
    async with database.write_transaction():
        await User.insert(
            *(
                User(
                    id=one,
                    username=one.hex,
                    password_hash="",
                    token_hash=one.hex,
                    message_endpoint=endpoint,
                )
                for one in ids
            )
        )
    return ids


async def tell(database: Database, *users: UUID, times: int = 1) -> None:
    """Tell the users of rounds 0, 1, … in one transaction."""
    async with database.write_transaction():
        for number in range(times):
            await enqueue(NotificationType.UPDATE_ROUND_START, users, TRAINING, {"round": number})


async def until(condition: Callable[[], object]) -> None:
    """Returns when the condition holds."""

    async def holds() -> object:
        return condition()

    await until_awaited(holds)


async def until_awaited(condition: Callable[[], Awaitable[object]]) -> None:
    """Returns when what the condition gives is true."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.01)
