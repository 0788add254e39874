"""A database that goes away in the middle: what callers see, and what is left behind."""

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from backend.db import postgresql as postgresql_engine
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.postgresql import MAX_CONNECTIONS
from backend.db.tables import Group
from backend.errors import DatabaseFull, DatabaseUnavailable, OutcomeUnknown
from tests.servers import PostgreSQL


@pytest_asyncio.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'some.sqlite'}")
    await database.open()
    await migrate()
    yield database
    await database.close()


class Killable:
    """A migrated database, and a connection of its administrator's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)

    async def open(self) -> None:
        await self.database.open()
        await migrate()
        self.administrator = await asyncpg.connect(self.url)

    async def kill_connections(self) -> None:
        """End every other connection, as an operator or a failover does."""
        await self.administrator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def in_transaction(self) -> int:
        """How many other connections hold a transaction open."""
        return int(
            await self.administrator.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            )
        )


@pytest_asyncio.fixture
async def killable(postgresql: PostgreSQL) -> AsyncIterator[Killable]:
    killable = Killable(postgresql.new_database())
    await killable.open()
    yield killable
    await killable.administrator.close()
    await killable.database.close()


async def test_connections_that_break_in_transactions_are_not_missed(killable: Killable) -> None:
    database = killable.database

    async def interrupted(*, goes_on: bool) -> None:
        async with database.write_transaction():
            await Group.insert(Group(name="lost"))
            await killable.kill_connections()
            if goes_on:
                await Group.count()

    async def refused() -> None:
        async with database.write_transaction():
            await killable.kill_connections()
            raise RuntimeError("ours")

    # In one task, as in a loop of the server: nothing may be left in its context either.
    for k in range(MAX_CONNECTIONS + 5):
        with pytest.raises(DatabaseUnavailable):
            await interrupted(goes_on=k % 2 == 0)
    with pytest.raises(RuntimeError, match="ours"):
        await refused()

    async with database.write_transaction():
        await Group.insert(Group(name="kept"))

    assert await Group.select(Group.name) == [{"name": "kept"}]
    # As many at once as there are connections: none is missing.
    async with asyncio.timeout(20):
        counts = await asyncio.gather(*(_count_slowly(database) for _ in range(MAX_CONNECTIONS)))
    assert counts == [1] * MAX_CONNECTIONS
    assert await killable.in_transaction() == 0


async def _count_slowly(database: Database) -> int:
    async with database.write_transaction():
        await Group.raw("SELECT pg_sleep(0.2)")
        return int(await Group.count())


async def test_a_connection_that_breaks_at_commit_leaves_the_outcome_open(
    killable: Killable,
) -> None:
    async def insert(*, killed_before: bool) -> None:
        async with killable.database.write_transaction():
            if killed_before:
                await killable.kill_connections()
            await Group.insert(Group(name="who knows"))
            await killable.kill_connections()

    with pytest.raises(OutcomeUnknown):
        await insert(killed_before=False)
    with pytest.raises(DatabaseUnavailable) as caught:
        await insert(killed_before=True)
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_a_cancelled_transaction_gives_its_connection_back(killable: Killable) -> None:
    async def forever() -> None:
        async with killable.database.write_transaction():
            await Group.insert(Group(name="cancelled"))
            await Group.raw("SELECT pg_sleep(3600)")

    for _ in range(2):
        tasks = [asyncio.create_task(forever()) for _ in range(MAX_CONNECTIONS)]
        while await killable.in_transaction() < MAX_CONNECTIONS:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert await killable.in_transaction() == 0
    assert await Group.count() == 0


async def test_a_server_that_stops_answering_is_not_waited_for(
    killable: Killable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_engine, "STATEMENT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(postgresql_engine, "RELEASE_TIMEOUT_SECONDS", 0.5)
    impatient = Database(killable.url)
    await impatient.open()
    stopped: list[int] = []

    async def frozen(*, at_commit: bool) -> None:
        async with impatient.write_transaction():
            await Group.insert(Group(name=f"frozen {at_commit}"))
            (row,) = await Group.raw("SELECT pg_backend_pid() AS pid")
            os.kill(row["pid"], signal.SIGSTOP)
            stopped.append(row["pid"])
            if not at_commit:
                await Group.count()

    try:
        async with asyncio.timeout(20):
            with pytest.raises(DatabaseUnavailable) as in_statement:
                await frozen(at_commit=False)
            with pytest.raises(OutcomeUnknown):
                await frozen(at_commit=True)
            assert not isinstance(in_statement.value, OutcomeUnknown)
            assert await Group.count() == 0
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        await impatient.close()


async def test_a_mistake_in_a_statement_is_no_outage(killable: Killable) -> None:
    async def insert_twice() -> None:
        async with killable.database.write_transaction():
            for _ in range(2):
                await Group.insert(Group(name="twice"))

    with pytest.raises(asyncpg.UndefinedTableError):
        await Group.raw("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.UniqueViolationError):
        await insert_twice()
    assert await Group.count() == 0


async def test_a_locked_database_is_unavailable_and_keeps_no_connection(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite.close()  # the connections that are kept would wait for longer
    monkeypatch.setitem(sqlite.engine.connection_kwargs, "timeout", 0.01)  # type: ignore[union-attr]
    path = str(sqlite.engine.connection_kwargs["database"])  # type: ignore[union-attr]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            async with sqlite.write_transaction():
                pass
        with pytest.raises(DatabaseUnavailable):
            await Group.insert(Group(name="late"))

    async with sqlite.write_transaction():
        await Group.insert(Group(name="kept"))
    assert await Group.select(Group.name) == [{"name": "kept"}]


async def test_a_disk_without_space_commits_nothing(sqlite: Database) -> None:
    await Group.insert(Group(name="before"))
    pages = next(iter((await Group.raw("PRAGMA page_count"))[0].values()))

    async def overflow() -> None:
        async with sqlite.write_transaction():
            await Group.raw(f"PRAGMA max_page_count = {pages}")
            await Group.insert(Group(name="small"))
            await Group.raw("CREATE TABLE large (content)")
            await Group.raw("INSERT INTO large VALUES (zeroblob(1000000))")

    with pytest.raises(DatabaseFull):
        await overflow()
    assert await Group.select(Group.name) == [{"name": "before"}]


async def test_a_file_that_may_not_grow_commits_nothing(sqlite: Database) -> None:
    path = Path(sqlite.engine.connection_kwargs["database"])  # type: ignore[union-attr]
    await Group.insert(Group(name="before"))
    # Somebody reads on, or the last to close would empty the log that is not to grow.
    with contextlib.closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT count(*) FROM starling_group").fetchone()
        log = path.with_name(f"{path.name}-wal")
        await Group.insert(Group(name="logged"))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
        try:
            with pytest.raises(DatabaseUnavailable):
                async with sqlite.write_transaction():
                    await Group.insert(Group(name="after"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async with sqlite.write_transaction():
        await Group.insert(Group(name="again"))
    names = {row["name"] for row in await Group.select(Group.name)}
    assert names == {"before", "logged", "again"}
