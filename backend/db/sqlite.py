"""Piccolo's SQLite engine, durable, on connections that are kept.

Piccolo opens a connection, and with it a thread, for every query, and closing the last one makes
SQLite write its log back: some milliseconds each, of which a decision about a round has twenty.
"""

import functools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import cast

from piccolo.engine.sqlite import (
    SQLiteEngine,
    SQLiteTransaction,
    TransactionType,
    convert_timestamptz_out,
    convert_uuid_out,
)
from piccolo.querystring import QueryString

from backend.db.sqlite_connections import Row, SQLiteConnection, SQLiteConnections
from backend.errors import DatabaseFull, DatabaseUnavailable, OutcomeUnknown

BUSY_TIMEOUT_SECONDS = 30.0

# A round of hundreds reads the same ids a dozen times, and to make one of its text takes longer
# than the rest of its row. A few megabytes at most.
REMEMBERED_VALUES = 8192
_remembering = functools.lru_cache(REMEMBERED_VALUES)
sqlite3.register_converter("UUID", _remembering(convert_uuid_out))
sqlite3.register_converter("TIMESTAMPTZ", _remembering(convert_timestamptz_out))

# Not the statement's fault: it may succeed later. The low byte of SQLite's result codes.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class _DurableConnection(sqlite3.Connection):
    """A connection whose COMMIT returns when the disk has what was written."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        # In WAL mode NORMAL would lose the last transactions when the power fails.
        self.execute("PRAGMA synchronous = FULL")
        self.execute("PRAGMA foreign_keys = ON")


class DurableSQLite(SQLiteEngine):
    """An engine whose queries raise `DatabaseUnavailable` when the database cannot do them now."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path=str(path),
            timeout=BUSY_TIMEOUT_SECONDS,
            factory=_DurableConnection,
            # One thread at a time uses it, not always the same.
            check_same_thread=False,
        )
        self.connections = SQLiteConnections(lambda: sqlite3.connect(**self.connection_kwargs))

    async def run_querystring(
        self,
        querystring: QueryString,
        in_pool: bool = False,  # noqa: ARG002 - Piccolo's signature
    ) -> object:
        """What the query gives."""
        query, arguments = querystring.compile_string(engine_type=self.engine_type)
        return await self._fetch(query, arguments)

    async def run_ddl(
        self,
        ddl: str,
        in_pool: bool = False,  # noqa: ARG002 - Piccolo's signature
    ) -> object:
        """What the statement gives."""
        return await self._fetch(ddl, ())

    def transaction(
        self,
        transaction_type: TransactionType = TransactionType.deferred,
        allow_nested: bool = True,
    ) -> "_Transaction":
        """A transaction; inside another one, a part of that."""
        return _Transaction(self, transaction_type, allow_nested)

    async def _fetch(self, query: str, arguments: Sequence[object]) -> list[Row]:
        transaction = self.current_transaction.get()
        with _translated():
            if transaction is not None:
                return await cast("_Transaction", transaction).fetch(query, arguments)
            connection = await self.connections.take()
            try:
                return await connection.fetch(query, arguments)
            finally:
                self.connections.give_back(connection)


class _Transaction(SQLiteTransaction):
    """A transaction that gives its connection back, and is over, whatever fails."""

    engine: DurableSQLite
    connection: SQLiteConnection
    _is_over = False

    async def __aenter__(self) -> SQLiteTransaction:
        if self._parent is not None:
            return self._parent
        with _translated():
            self.connection = await self.engine.connections.take()
            try:
                await self.connection.execute(f"BEGIN {self.transaction_type.value}")
            except BaseException:
                self.engine.connections.give_back(self.connection)
                raise
        self.context = self.engine.current_transaction.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._parent is not None:
            return False
        self._is_over = True
        try:
            if error is None:
                with _translated(committing=True):
                    await self.connection.execute("COMMIT")
            else:
                await self.connection.roll_back()
        finally:
            self.engine.current_transaction.reset(self.context)
            self.engine.connections.give_back(self.connection)
        return False

    async def fetch(self, query: str, arguments: Sequence[object]) -> list[Row]:
        """The rows that a query gives.

        Raises:
            RuntimeError: the transaction is over, in which the task that asks was made.
        """
        if self._is_over:
            # The connection may be somebody else's by now.
            message = "a task that was made in a transaction outlived it and made a query"
            raise RuntimeError(message)
        return await self.connection.fetch(query, arguments)


@contextmanager
def _translated(*, committing: bool = False) -> Iterator[None]:
    """Turn what SQLite raises into what callers can tell apart; a mistake of ours stays one."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise DatabaseFull(str(error)) from error
        if committing and code == sqlite3.SQLITE_IOERR:
            # All of it may be in the log already, and count after a crash.
            raise OutcomeUnknown(str(error)) from error
        if code in _PASSING:
            raise DatabaseUnavailable(str(error)) from error
        raise
