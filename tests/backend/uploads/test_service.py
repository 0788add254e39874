"""What becomes of uploads that nobody goes on with."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import PartialUpload, User
from backend.errors import InvalidRequest, NothingHere, UploadInUse
from backend.uploads import service
from backend.uploads.service import PartialUploads
from compute.blobs import LocalBlobStore


@pytest_asyncio.fixture
async def uploads(tmp_path: Path) -> AsyncIterator[PartialUploads]:
    database = Database(f"sqlite:///{tmp_path / 'some.sqlite'}")
    await database.open()
    await migrate()
    yield PartialUploads(
        database=database,
        blobs=LocalBlobStore(tmp_path / "blobs"),
        folder=tmp_path / "uploads",
        max_upload_bytes=1000,
    )
    await database.close()


@pytest_asyncio.fixture
async def owner(uploads: PartialUploads) -> uuid.UUID:
    user = User(id=uuid.uuid4(), username="owner", password_hash="", token_hash="")
    await User.insert(user)
    return user.id


async def sent(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def sent_and_then_silence(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    await asyncio.Event().wait()


async def test_what_has_expired_is_swept_and_the_rest_stays(
    uploads: PartialUploads, owner: uuid.UUID, tmp_path: Path
) -> None:
    old, new = [await uploads.begin(owner, 3) for _ in range(2)]
    for state in (old, new):
        await uploads.append(str(state.id), owner, 0, sent(b"abc"), None)
    (tmp_path / "uploads" / str(uuid.uuid4())).write_bytes(b"of a deleted user")
    await PartialUpload.update(
        {PartialUpload.expires_at: datetime.now(UTC) - timedelta(seconds=1)}
    ).where(PartialUpload.id == old.id)

    with pytest.raises(NothingHere):
        await uploads.find(str(old.id), owner)
    assert await uploads.sweep() == 2
    assert await uploads.sweep() == 0

    assert (await uploads.find(str(new.id), owner)).offset == 3
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [str(new.id)]
    assert [row["id"] for row in await PartialUpload.select(PartialUpload.id)] == [new.id]


async def test_a_silent_sender_loses_its_turn_and_nothing_that_it_sent(
    uploads: PartialUploads, owner: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "IDLE_SECONDS", 0.3)
    upload = str((await uploads.begin(owner, 6)).id)

    silent = asyncio.create_task(
        uploads.append(upload, owner, 0, sent_and_then_silence(b"ab", b"c"), None)
    )
    while not uploads._turns:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)
    with pytest.raises(UploadInUse):
        await uploads.append(upload, owner, 0, sent(b"x"), None)
    with pytest.raises(InvalidRequest, match="Nothing was sent"):
        await silent

    finished = await uploads.append(upload, owner, 3, sent(b"def"), None)
    assert finished.offset == 6
    staged = await uploads.stage("model_file_upload", upload, owner)
    assert staged.digest == hashlib.sha256(b"abcdef").hexdigest()


async def test_an_upload_of_nothing_is_finished_at_once(
    uploads: PartialUploads, owner: uuid.UUID
) -> None:
    upload = await uploads.begin(owner, 0)

    staged = await uploads.stage("model_file_upload", str(upload.id), owner)

    assert (upload.offset, staged.size_bytes) == (0, 0)
