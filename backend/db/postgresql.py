"""Piccolo's PostgreSQL engine, made to outlive a server that goes away in the middle of anything.

Piccolo waits for connections and answers without end, and keeps a connection for ever when COMMIT
or ROLLBACK fails on it. Here every wait has a limit, and every connection goes back to the pool.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction
from piccolo.querystring import QueryString

from backend.errors import DatabaseFull, DatabaseUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 20
CONNECT_TIMEOUT_SECONDS = 10.0
STATEMENT_TIMEOUT_SECONDS = 30.0
# For a free connection of the pool, or a new one.
ACQUIRE_TIMEOUT_SECONDS = 20.0
RELEASE_TIMEOUT_SECONDS = 5.0
# A transaction whose client vanished without a word lets go of its locks after so long.
ABANDONED_TRANSACTION_SECONDS = 60

# Not the statement's fault: it may succeed later.
_PASSING = (
    OSError,  # nothing listens there, the connection broke, or a time limit was reached
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutdown, crash, cancelled
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, in a failover
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,  # the connection or the pool is closed
    asyncpg.InternalClientError,  # asyncpg, when the connection breaks at an odd moment
)
# Answers to COMMIT after which it may have happened.
_AMBIGUOUS = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class ResilientPostgreSQL(PostgresEngine):
    """An engine whose queries raise `DatabaseUnavailable` when the database cannot do them now."""

    def __init__(self, url: str, database: str) -> None:
        super().__init__(
            config={
                "dsn": url,
                "database": database,
                "timeout": CONNECT_TIMEOUT_SECONDS,
                "command_timeout": STATEMENT_TIMEOUT_SECONDS,
                "server_settings": {
                    "application_name": "starling",
                    "idle_in_transaction_session_timeout": f"{ABANDONED_TRANSACTION_SECONDS}s",
                },
            }
        )

    async def open(self) -> None:
        """Make the pool. Raises `DatabaseUnavailable`."""
        with _translated():
            await self.start_connection_pool(min_size=1, max_size=MAX_CONNECTIONS)

    async def close(self) -> None:
        """Close the pool, if there is one; what is still in use is cut off."""
        if self.pool is None:
            return
        pool, self.pool = self.pool, None
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_SECONDS):
                await pool.close()
        except (TimeoutError, *_PASSING):
            pool.terminate()

    async def acquire(self) -> "PoolConnectionProxy":
        """A connection of the pool, to be given to `release`."""
        if self.pool is None:
            raise DatabaseUnavailable("The connections to the database are not open.")
        return await self.pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)

    async def release(self, connection: "PoolConnectionProxy") -> None:
        """Give a connection back; one that does not answer is closed instead."""
        if self.pool is None:
            return
        try:
            await self.pool.release(connection, timeout=RELEASE_TIMEOUT_SECONDS)
        except (asyncpg.PostgresError, *_PASSING) as error:
            # asyncpg has closed it and made room for another.
            logger.info("a connection to the database was given up: %s", error)

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> object:
        """What the query gives."""
        with _translated():
            return await super().run_querystring(querystring, in_pool)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> object:
        """What the statement gives."""
        with _translated():
            return await super().run_ddl(ddl, in_pool)

    async def _run_in_pool(self, query: str, args: Sequence[object] | None = None) -> object:
        connection = await self.acquire()
        try:
            return await connection.fetch(query, *(args or ()))
        finally:
            await self.release(connection)

    def transaction(self, allow_nested: bool = True) -> "_Transaction":
        """A transaction; inside another one, a part of that."""
        return _Transaction(self, allow_nested)


class _Transaction(PostgresTransaction):
    """A transaction that gives its connection back, and is over, whatever fails."""

    engine: ResilientPostgreSQL

    async def __aenter__(self) -> PostgresTransaction:
        if self._parent is not None:
            return self._parent
        with _translated():
            self.connection = await self.engine.acquire()
            try:
                self.transaction = self.connection.transaction()
                await self.transaction.start()
            except BaseException:
                await self.engine.release(self.connection)
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
            # asyncpg's own limit does not hold while a cancelled query is in its way.
            async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
                if error is None:
                    await self.transaction.commit()
                else:
                    await self.transaction.rollback()
        except (asyncpg.PostgresError, *_PASSING) as failure:
            # Nobody can say what state it is in; a server rolls back what it was not told to keep.
            with contextlib.suppress(asyncpg.InterfaceError):  # asyncpg gave it up already
                self.connection.terminate()
            if error is None:
                with _translated(committing=True):
                    raise
            logger.info("a transaction was rolled back by closing it: %s", failure)
        finally:
            self.engine.current_transaction.reset(self.context)
            await self.engine.release(self.connection)
        return False


@contextlib.contextmanager
def _translated(*, committing: bool = False) -> Iterator[None]:
    """Turn what asyncpg raises into what callers can tell apart; a mistake of ours stays one."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise DatabaseFull(str(error)) from error
    except _PASSING as error:
        if isinstance(error, ValueError):
            raise  # asyncpg was given a value that it cannot send
        text = str(error) or type(error).__name__
        if committing and isinstance(error, _AMBIGUOUS):
            raise OutcomeUnknown(text) from error
        raise DatabaseUnavailable(text) from error
