"""Locks of PostgreSQL that belong to no row."""

from piccolo.engine.postgres import PostgresEngine

from backend.db import piccolo_conf
from backend.db.tables import User


async def lock_until_commit(number: int) -> None:
    """Wait until no other transaction holds this lock, and hold it until this one has committed.

    Runs inside a write transaction. On SQLite there is nothing to do: only one writes at a time.

    Constraints: rows that others may hold while they wait for this lock MUST be locked before it.
    """
    if isinstance(piccolo_conf.DB, PostgresEngine):
        await User.raw("SELECT pg_advisory_xact_lock({})", number)
