"""What a 201 rests on: nothing is answered before the disk has it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import User
from compute.blobs import LocalBlobStore

FULL = 2


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Path]]]:
    """Every fsync and rename of this process, in order."""
    seen: list[tuple[str, Path]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def seen_fsync(descriptor: int) -> None:
        seen.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def seen_replace(source: Path, target: Path) -> None:
        replace(source, target)
        seen.append(("rename", Path(target)))

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    yield seen
    assert (os.fsync, os.replace, os.rename) == (seen_fsync, seen_replace, rename)


def test_a_promoted_blob_is_synced_with_every_folder_that_names_it(
    tmp_path: Path, events: list[tuple[str, Path]]
) -> None:
    root = tmp_path / "new" / "store"
    store = LocalBlobStore(root)
    assert {("fsync", tmp_path), ("fsync", tmp_path / "new"), ("fsync", root)} <= set(events)
    for content in (b"first", b"second", b"first"):
        writer = store.stage()
        writer.write(content)
        staged = writer.finish()
        events.clear()

        store.promote(staged)

        blob = root / "blobs" / staged.digest[:2] / staged.digest
        assert events == [
            ("fsync", root / staged.key),
            ("rename", blob),
            ("fsync", blob.parent),
            ("fsync", root / "blobs"),
        ]


async def test_every_connection_to_sqlite_syncs_each_commit(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    await database.open()
    await migrate()

    async def modes() -> tuple[object, object, object]:
        rows = [
            await User.raw(f"PRAGMA {name}")
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        return tuple(next(iter(row.values())) for (row,) in rows)  # type: ignore[return-value]

    assert await modes() == ("wal", FULL, 1)
    async with database.write_transaction():
        assert await modes() == ("wal", FULL, 1)
