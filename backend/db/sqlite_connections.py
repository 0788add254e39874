"""Connections to SQLite that are kept: opening one takes longer than most queries.

Each call is made in a thread, whole: a statement with its rows is one turn of the event loop.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar, cast

logger = logging.getLogger(__name__)

# Who comes when all are in use waits: each has files and up to 2 MB of pages.
MAX_CONNECTIONS = 8

Row = dict[str, object]
ResultT = TypeVar("ResultT")


class SQLiteConnection:
    """One connection, for one task at a time."""

    def __init__(self, raw: sqlite3.Connection, threads: Executor) -> None:
        self._raw = raw
        self._threads = threads
        self._call: Future[object] | None = None
        self._is_sound = True

    @property
    def is_sound(self) -> bool:
        """Whether every call so far succeeded and was waited for."""
        return self._is_sound

    async def execute(self, statement: str) -> None:
        """Run a statement that gives nothing."""
        await self._made(lambda: self._raw.execute(statement).close())

    async def fetch(self, query: str, arguments: Sequence[object] = ()) -> list[Row]:
        """The rows that a query gives."""
        return await self._made(lambda: _rows(self._raw, query, arguments))

    async def roll_back(self) -> None:
        """Undo what was not committed. A connection that cannot is no longer sound."""
        if not self._is_sound:
            return  # closing it will do
        try:
            await self.execute("ROLLBACK")
        except sqlite3.Error as error:
            logger.info("a transaction is rolled back by closing it: %s", error)

    async def close(self) -> None:
        """Close it, in a thread: the last to close a database tidies up its log."""
        await self._made(self._raw.close)

    def discard(self) -> None:
        """Close it as soon as nothing happens on it; that rolls back what was not committed."""
        if self._call is None or self._call.done():
            self._threads.submit(self._raw.close)
        else:
            self._call.add_done_callback(lambda _: self._raw.close())

    async def _made(self, call: Callable[[], ResultT]) -> ResultT:
        future = self._threads.submit(call)
        self._call = cast("Future[object]", future)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._is_sound = False
            if not future.done():
                self._raw.interrupt()
            raise
        except BaseException:
            self._is_sound = False
            raise


class SQLiteConnections:
    """Lends connections; between `open` and `close`, sound ones are kept for the next.

    Constraints: used from one event loop. Who holds one MUST NOT wait for somebody who needs one.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="sqlite")
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[SQLiteConnection] = []
        self._is_open = False

    def open(self) -> None:
        """Keep connections from now on."""
        self._is_open = True

    async def close(self) -> None:
        """Close those that are kept; one in use is closed when it is given back."""
        self._is_open = False
        while self._idle:
            await self._idle.pop().close()

    async def take(self) -> SQLiteConnection:
        """A connection, to be given to `give_back`. Raises what `connect` does."""
        await self._free.acquire()
        try:
            if self._idle:
                return self._idle.pop()
            raw = await asyncio.wrap_future(self._threads.submit(self._connect))
        except BaseException:
            self._free.release()
            raise
        return SQLiteConnection(raw, self._threads)

    def give_back(self, connection: SQLiteConnection) -> None:
        """Take back a connection, whatever happened on it."""
        self._free.release()
        if self._is_open and connection.is_sound:
            self._idle.append(connection)
        else:
            connection.discard()


def _rows(raw: sqlite3.Connection, query: str, arguments: Sequence[object]) -> list[Row]:
    cursor = raw.execute(query, arguments)
    try:
        rows = cursor.fetchall()
        # None after a statement that gives no rows.
        names = [column[0] for column in cursor.description or ()]
    finally:
        cursor.close()
    return [dict(zip(names, row, strict=True)) for row in rows]
