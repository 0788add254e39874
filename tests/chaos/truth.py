"""Database and blobs of a server, read past it: what is really there."""

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

Row = Mapping[str, object]

SQLITE_FILE = "starling.sqlite"
BLOBS = "blobs"
READ_TIMEOUT_SECONDS = 5.0

# Every column that refers to a blob, and under which condition the blob must be there.
_REFERENCES = """
    SELECT digest FROM global_model
    UNION SELECT preprocessing_digest FROM global_model
    UNION SELECT swag_first_digest FROM global_model
    UNION SELECT swag_second_digest FROM global_model
    UNION SELECT digest FROM model_version WHERE kept
    UNION SELECT digest FROM local_model WHERE kept
    UNION SELECT first_digest FROM local_moments WHERE kept
    UNION SELECT second_digest FROM local_moments WHERE kept
"""


@dataclass(frozen=True)
class Snapshot:
    """Everything the database has about one training, in order of `id` where order matters."""

    training: Row
    model: Row
    participants: Sequence[Row]
    rounds: Sequence[Row]
    updates: Sequence[Row]
    moments: Sequence[Row]
    versions: Sequence[Row]
    notifications: Sequence[Row]
    metrics: Sequence[Row]
    audit: Sequence[Row]


class Truth:
    """Reads the database and the blobs of one server, which may be dead or stopped meanwhile."""

    def __init__(self, data_dir: Path, database_url: str | None) -> None:
        self._sqlite = data_dir / SQLITE_FILE
        self._blobs = data_dir / BLOBS
        self._database_url = database_url

    def rows(self, query: str) -> list[Row]:
        """What the query gives; values are plain Python ones, ids are text."""
        if self._database_url is not None:
            found = asyncio.run(_from_postgresql(self._database_url, query))
        else:
            found = self._from_sqlite(query)
        return [{name: _plain(value) for name, value in row.items()} for row in found]

    def phase(self, training_id: str) -> str:
        """Phase of the training's open round; "over" when it has none any more."""
        found = self.rows(
            f"SELECT phase FROM round WHERE training = '{training_id}' AND phase <> 'closed'"  # noqa: S608 - our own ids
        )
        return str(found[0]["phase"]) if found else "over"

    def snapshot(self, training_id: str) -> Snapshot:
        """All rows of a training."""

        def of(table: str, order: str, column: str = "training") -> list[Row]:
            return self.rows(
                f"SELECT * FROM {table} WHERE {column} = '{training_id}' ORDER BY {order}"  # noqa: S608 - our own ids
            )

        training = of("training", "id", "id")[0]
        model_id = training["model"]
        updates = of("local_model", "id")
        models = "','".join(str(id) for id in [model_id, *(row["id"] for row in updates)])
        return Snapshot(
            training=training,
            model=self.rows(f"SELECT * FROM global_model WHERE id = '{model_id}'")[0],  # noqa: S608
            participants=of("participant", "id"),
            rounds=of("round", '"index"'),
            updates=updates,
            moments=of("local_moments", "id"),
            versions=self.rows(
                f"SELECT * FROM model_version WHERE model = '{model_id}' ORDER BY round"  # noqa: S608
            ),
            notifications=of("notification", "id"),
            metrics=self.rows(f"SELECT * FROM metric WHERE model IN ('{models}') ORDER BY id"),  # noqa: S608
            audit=of("audit_event", "id"),
        )

    def referenced(self) -> set[str]:
        """Digests of the blobs that some row needs."""
        return {str(row["digest"]) for row in self.rows(_REFERENCES) if row["digest"]}

    def blobs(self) -> dict[str, str]:
        """Path of every file in the blob store, relative to it, to the SHA-256 of its content."""
        found = {}
        for path in self._blobs.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    found[str(path.relative_to(self._blobs))] = _digest(path)
        return found

    def _from_sqlite(self, query: str) -> list[dict[str, object]]:
        uri = f"file:{self._sqlite}?mode=ro"
        with contextlib.closing(
            sqlite3.connect(uri, uri=True, timeout=READ_TIMEOUT_SECONDS)
        ) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]


async def _from_postgresql(url: str, query: str) -> list[dict[str, object]]:
    connection = await asyncpg.connect(url, timeout=READ_TIMEOUT_SECONDS)
    try:
        return [dict(row) for row in await connection.fetch(query, timeout=READ_TIMEOUT_SECONDS)]
    finally:
        await connection.close()


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bytes | None) else str(value)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decoded(value: object) -> object:
    """A JSON column's value."""
    return json.loads(str(value)) if value is not None else None
