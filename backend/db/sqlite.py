"""Piccolo's SQLite engine, durable, and closing its connections whatever fails."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import aiosqlite
from piccolo.engine.sqlite import SQLiteEngine, SQLiteTransaction, TransactionType, dict_factory
from piccolo.querystring import QueryString

from backend.errors import DatabaseFull, DatabaseUnavailable, OutcomeUnknown

BUSY_TIMEOUT_SECONDS = 30.0

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
    """A connection whose COMMIT returns when the disk has what was written.

    Piccolo opens one for nearly every query; set here, it costs no turn of the event loop.
    """

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        # In WAL mode NORMAL would lose the last transactions when the power fails.
        self.execute("PRAGMA synchronous = FULL")
        self.execute("PRAGMA foreign_keys = ON")


class DurableSQLite(SQLiteEngine):
    """An engine whose queries raise `DatabaseUnavailable` when the database cannot do them now."""

    def __init__(self, path: Path) -> None:
        super().__init__(path=str(path), timeout=BUSY_TIMEOUT_SECONDS, factory=_DurableConnection)

    async def get_connection(self) -> aiosqlite.Connection:
        """A new connection."""
        connection = await aiosqlite.connect(**self.connection_kwargs)
        connection.row_factory = dict_factory  # type: ignore[assignment]
        return connection

    async def run_querystring(self, querystring: QueryString, in_pool: bool = False) -> object:
        """What the query gives."""
        with _translated():
            return await super().run_querystring(querystring, in_pool)

    async def run_ddl(self, ddl: str, in_pool: bool = False) -> object:
        """What the statement gives."""
        with _translated():
            return await super().run_ddl(ddl, in_pool)

    def transaction(
        self,
        transaction_type: TransactionType = TransactionType.deferred,
        allow_nested: bool = True,
    ) -> "_Transaction":
        """A transaction; inside another one, a part of that."""
        return _Transaction(self, transaction_type, allow_nested)


class _Transaction(SQLiteTransaction):
    """A transaction that closes its connection, and is over, whatever fails."""

    engine: DurableSQLite

    async def __aenter__(self) -> SQLiteTransaction:
        if self._parent is not None:
            return self._parent
        with _translated():
            self.connection = await self.engine.get_connection()
            try:
                await self.connection.execute(f"BEGIN {self.transaction_type.value}")
            except BaseException:
                await self.connection.close()
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
        try:
            # A connection that closes rolls back what was not committed.
            if error is None:
                with _translated(committing=True):
                    await self.connection.execute("COMMIT")
        finally:
            self.engine.current_transaction.reset(self.context)
            await self.connection.close()
        return False


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
