"""The database: SQLite or PostgreSQL by URL, and write transactions that fit both."""

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from piccolo.apps.migrations.tables import Migration
from piccolo.engine.sqlite import TransactionType
from piccolo.table import Table

from backend.db import piccolo_conf
from backend.db.postgresql import ResilientPostgreSQL
from backend.db.sqlite import DurableSQLite
from backend.db.tables import TABLES, User

logger = logging.getLogger(__name__)

DatabaseEngine = DurableSQLite | ResilientPostgreSQL


class Database:
    """The engine that every table is bound to.

    One process has one database: Piccolo binds tables, not queries. Whatever is asked of it raises
    `DatabaseUnavailable` when the database does not answer; no call waits for ever.
    """

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)
        self._writing = asyncio.Lock()

    def bind(self) -> None:
        """Make this the database of every table and of Piccolo's migrations."""
        os.environ["PICCOLO_CONF"] = piccolo_conf.__name__
        piccolo_conf.DB = self.engine
        tables: tuple[type[Table], ...] = (*TABLES, Migration)
        for table in tables:
            table._meta.db = self.engine  # noqa: SLF001 - Piccolo's documented way to set it

    async def open(self) -> None:
        """Bind, and make the connections that requests will share."""
        self.bind()
        if isinstance(self.engine, ResilientPostgreSQL):
            await self.engine.open()
        else:
            self.engine.connections.open()
            # Readers go on while somebody writes; the mode stays with the file.
            await User.raw("PRAGMA journal_mode = WAL")

    async def close(self) -> None:
        """Close the shared connections."""
        if isinstance(self.engine, ResilientPostgreSQL):
            await self.engine.close()
        else:
            await self.engine.connections.close()

    async def check(self) -> None:
        """Raises `DatabaseUnavailable` when the database does not answer."""
        await User.raw("SELECT 1")

    async def warn_unless_durable(self) -> None:
        """Log what an operator has to set for COMMIT to mean that nothing is lost any more."""
        if isinstance(self.engine, ResilientPostgreSQL):
            for setting in ("fsync", "synchronous_commit"):
                rows = await User.raw(f"SHOW {setting}")
                if rows[0][setting] == "off":
                    logger.warning(
                        "PostgreSQL's %s is off: accepted updates may be lost when its machine "
                        "fails",
                        setting,
                    )

    @asynccontextmanager
    async def write_transaction(self) -> AsyncIterator[None]:
        """A transaction that may write; it commits when the block ends without an exception.

        Constraints: the block MUST NOT wait for anything but the database. On SQLite one writes at
        a time, from the first statement on; on PostgreSQL a block that decides by what it reads
        MUST first update the row that guards the decision.

        Raises:
            OutcomeUnknown: the database went away while it committed.
        """
        if isinstance(self.engine, ResilientPostgreSQL):
            async with self.engine.transaction():
                yield
            return
        async with (
            self._writing,
            self.engine.transaction(transaction_type=TransactionType.immediate),
        ):
            yield

    @asynccontextmanager
    async def read_snapshot(self) -> AsyncIterator[None]:
        """A transaction that only reads, and sees one moment of the database throughout."""
        if isinstance(self.engine, DurableSQLite):
            async with self.engine.transaction(transaction_type=TransactionType.deferred):
                yield
            return
        async with self.engine.transaction():
            await User.raw("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield


def _make_engine(url: str) -> DatabaseEngine:
    if url.startswith("sqlite:///"):
        return DurableSQLite(Path(unquote(url.removeprefix("sqlite:///"))))
    parts = urlsplit(url)
    with warnings.catch_warnings():
        # Piccolo asks for the server's version and warns when it cannot; opening says it better.
        warnings.filterwarnings("ignore", message=".*Unable to connect to database")
        return ResilientPostgreSQL(url, parts.path.lstrip("/"))
