"""When users were last seen is written once a minute, whatever went wrong the last time."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import User
from backend.security import presence as presence_module
from backend.security.presence import Presence


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'some.sqlite'}")
    await database.open()
    await migrate()
    yield database
    await database.close()


async def test_a_mistake_does_not_end_the_writing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "FLUSH_SECONDS", 0.0)
    user = uuid4()
    async with database.write_transaction():
        await User.insert(User(id=user, username="u", password_hash="", token_hash="h"))
    presence = Presence(database)
    write = presence._write
    failed = asyncio.Event()

    async def fails_once(minute: datetime, users: list[UUID]) -> None:
        if not failed.is_set():
            failed.set()
            raise LookupError
        await write(minute, users)

    monkeypatch.setattr(presence, "_write", fails_once)
    presence.seen(user)
    running = asyncio.create_task(presence.run())
    async with asyncio.timeout(20):
        await failed.wait()
        presence.seen(user)
        while not await User.exists().where(User.last_seen_at.is_not_null()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    running.cancel()


async def test_who_was_seen_is_known_before_it_is_written_and_after(database: Database) -> None:
    user, silent = uuid4(), uuid4()
    async with database.write_transaction():
        await User.insert(User(id=user, username="u", password_hash="", token_hash="h"))
    presence = Presence(database)
    assert presence.last_seen(user, None) is None

    presence.seen(user)
    at = presence.last_seen(user, None)
    assert at is not None
    earlier, later = at - timedelta(days=1), at + timedelta(days=1)
    assert presence.last_seen(user, earlier) == at
    assert presence.last_seen(user, later) == later
    assert presence.last_seen(silent, earlier) == earlier

    await presence.flush()
    assert presence.last_seen(user, None) is None
    row = await User.objects().get(User.id == user)
    assert row is not None
    assert row.last_seen_at == at
