"""A migrated database of each kind in the test's own process."""

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from tests.backend.notifications.outboxes import until


@pytest.fixture(params=["sqlite", "postgresql"])
async def either_database(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    database = Database(url)
    await database.open()
    await migrate()
    yield database
    await database.close()
    # A query that was cancelled ends in its thread, which must not outlive the event loop.
    await until(lambda: not any("_connection_worker" in one.name for one in threading.enumerate()))
