"""Ids are in the order of commits, so that a reader who goes on above an id misses nothing."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import Notification, User
from backend.notifications.outbox import NotificationType, enqueue
from tests.servers import PostgreSQL

WAITING_FOR_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
async def postgresql_database(postgresql: PostgreSQL) -> AsyncIterator[tuple[Database, str]]:
    url = postgresql.new_database()
    database = Database(url)
    await database.open()
    await migrate()
    yield database, url
    await database.close()


async def tell(user: UUID, training: UUID) -> None:
    await enqueue(NotificationType.TRAINING_START, [user], training, {})


async def waits_for_a_lock(url: str) -> None:
    """Returns when somebody waits for an advisory lock."""
    observer = await asyncpg.connect(url)
    try:
        while not await observer.fetchval(WAITING_FOR_LOCKS):  # noqa: ASYNC110 - PostgreSQL tells nobody
            await asyncio.sleep(0.01)
    finally:
        await observer.close()


async def test_who_began_to_write_first_commits_first(
    postgresql_database: tuple[Database, str],
) -> None:
    db, url = postgresql_database
    user, first, second = uuid4(), uuid4(), uuid4()
    async with db.write_transaction():
        await User.insert(User(id=user, username="u", password_hash="", token_hash="h"))
    may_commit, has_written = asyncio.Event(), asyncio.Event()

    async def write_slowly() -> None:
        async with db.write_transaction():
            await tell(user, first)
            has_written.set()
            await may_commit.wait()

    async def write() -> None:
        async with db.write_transaction():
            await tell(user, second)

    slow = asyncio.create_task(write_slowly())
    await has_written.wait()
    quick = asyncio.create_task(write())
    waits = asyncio.create_task(waits_for_a_lock(url))
    async with asyncio.timeout(30):
        await asyncio.wait({quick, waits}, return_when=asyncio.FIRST_COMPLETED)
        # Without the lock the second would be there, and whoever reads would go on above the first.
        visible = await Notification.select(Notification.training)
        may_commit.set()
        await asyncio.gather(slow, quick)
    waits.cancel()

    assert visible == []
    rows = await Notification.select(Notification.training).order_by(Notification.id)
    assert [row["training"] for row in rows] == [first, second]
