"""A server to do chaos to, with its database; it lives on between trainings."""

import asyncio
from pathlib import Path

from backend.db.engine import Database as BackendDatabase
from backend.sweeper import sweep
from backend.weights import Weights
from compute.blobs import open_blob_store
from tests.chaos.chaos_server import ChaosServer
from tests.chaos.kills import Killer
from tests.chaos.scenarios import Database
from tests.chaos.truth import BLOBS, SQLITE_FILE, Truth
from tests.servers import PostgreSQL


class Arena:
    """A running server, what is really in its database, and what takes parts of it away."""

    def __init__(
        self, folder: Path, database: Database, postgresql: PostgreSQL | None = None
    ) -> None:
        url = postgresql.new_database() if postgresql is not None else None
        self.server = ChaosServer(folder / database.value, database_url=url)
        self.truth = Truth(self.server.data_dir, url)
        self.killer = Killer(self.server, self.truth, postgresql)
        self.server.start_and_wait()

    def close(self) -> None:
        """End the server and everything it started."""
        self.server.end_with_ray()

    def sweep(self) -> None:
        """Delete orphaned blobs of any age, and uploads cut off at any time, as the server does."""
        folder = self.server.data_dir
        url = self.server.database_url or f"sqlite:///{folder / SQLITE_FILE}"
        asyncio.run(_sweep(url, (folder / BLOBS).as_uri()))


async def _sweep(database_url: str, blob_url: str) -> None:
    database = BackendDatabase(database_url)
    await database.open()
    try:
        weights = Weights(open_blob_store(blob_url))
        weights.blobs.sweep_staged(older_than_seconds=0.0)
        await sweep(weights, grace_seconds=0.0)
    finally:
        await database.close()
