"""Connections to SQLite that are kept: lent to one at a time, and clean when lent again."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.sqlite_connections import MAX_CONNECTIONS
from backend.db.tables import Group

LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'some.sqlite'}")
    await database.open()
    await migrate()
    yield database
    await database.close()


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every connection that is opened from now on."""
    opened: list[object] = []
    connect = sqlite3.connect

    def counted(*arguments: object, **options: object) -> object:
        opened.append(connect(*arguments, **options))  # type: ignore[call-overload]
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", counted)
    return opened


async def names() -> set[str]:
    return {row["name"] for row in await Group.select(Group.name)}


async def test_queries_share_connections(database: Database, connected: list[object]) -> None:
    for k in range(5):
        async with database.write_transaction():
            await Group.insert(Group(name=f"group {k}"))
        await Group.count()
    assert connected == []

    await asyncio.gather(*(Group.count() for _ in range(10 * MAX_CONNECTIONS)))
    assert len(connected) < MAX_CONNECTIONS


async def test_what_failed_is_undone_before_the_next(
    database: Database, connected: list[object]
) -> None:
    async def refused() -> None:
        async with database.write_transaction():
            await Group.insert(Group(name="refused"))
            raise LookupError

    for _ in range(3):
        with pytest.raises(LookupError):
            await refused()
        assert await names() == set()
    assert connected == []

    with pytest.raises(sqlite3.OperationalError):
        await Group.raw("SELECT * FROM nowhere")
    async with database.write_transaction():
        await Group.insert(Group(name="kept"))
    assert await names() == {"kept"}


async def test_a_cancelled_query_is_interrupted_and_its_connection_not_lent_again(
    database: Database,
) -> None:
    async def forever() -> None:
        async with database.write_transaction():
            await Group.insert(Group(name="cancelled"))
            await Group.raw(LONG)

    async def ask_forever() -> None:
        await Group.raw(LONG)

    for work in (forever, ask_forever):
        tasks = [asyncio.create_task(work()) for _ in range(2 * MAX_CONNECTIONS)]
        await Group.count() if work is forever else await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async with asyncio.timeout(20), database.write_transaction():
        await Group.insert(Group(name="kept"))
    assert await names() == {"kept"}


async def test_a_task_that_outlives_its_transaction_makes_no_query_in_the_next(
    database: Database,
) -> None:
    over = asyncio.Event()

    async def late() -> None:
        await over.wait()
        await Group.insert(Group(name="late"))

    async with database.write_transaction():
        task = asyncio.create_task(late())
    async with database.write_transaction():
        over.set()
        with pytest.raises(RuntimeError, match="outlived"):
            await task
    assert await names() == set()


async def test_a_closed_database_leaves_no_log_behind(database: Database, tmp_path: Path) -> None:
    await asyncio.gather(*(Group.count() for _ in range(10)))
    async with database.write_transaction():
        await Group.insert(Group(name="kept"))
    await database.close()

    assert [path.name for path in tmp_path.iterdir()] == ["some.sqlite"]
    with contextlib.closing(sqlite3.connect(tmp_path / "some.sqlite")) as connection:
        assert connection.execute("SELECT name FROM starling_group").fetchall() == [("kept",)]
