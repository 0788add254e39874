"""Uploads on their way to the staging area: in order, within bounds, and never half there."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import InvalidRequest
from backend.staging import BATCH_BYTES, Staging
from compute.blobs import BlobStoreFull, LocalBlobStore


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path)


def left(blobs: LocalBlobStore) -> list[Path]:
    return list((blobs.root / "staged").iterdir())


@pytest.mark.parametrize("sizes", [(), (1,), (BATCH_BYTES,), (10, BATCH_BYTES * 2, 3, BATCH_BYTES)])
async def test_chunks_arrive_in_order_and_hashed(
    blobs: LocalBlobStore, sizes: tuple[int, ...]
) -> None:
    chunks = [bytes([k % 251]) * size for k, size in enumerate(sizes)]
    stream = Staging(blobs).stream()
    for chunk in chunks:
        await stream.write(chunk)

    staged = await stream.finish()

    content = b"".join(chunks)
    assert staged.digest == hashlib.sha256(content).hexdigest()
    assert b"".join(blobs.read(staged.key)) == content


async def test_many_streams_at_once_keep_their_bytes_apart(blobs: LocalBlobStore) -> None:
    staging = Staging(blobs)

    async def sent(number: int) -> str:
        stream = staging.stream()
        for _ in range(30):
            await stream.write(bytes([number]) * 100_000)
        return (await stream.finish()).digest

    digests = await asyncio.gather(*(sent(number) for number in range(12)))

    assert digests == [hashlib.sha256(bytes([k]) * 3_000_000).hexdigest() for k in range(12)]


async def test_the_event_loop_goes_on_while_a_batch_is_written(
    blobs: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    stage = blobs.stage

    def slow_stage() -> object:
        may_write.wait()
        return stage()

    monkeypatch.setattr(blobs, "stage", slow_stage)
    stream = Staging(blobs).stream()
    batch = bytes(BATCH_BYTES)

    await stream.write(batch)  # returns although nothing can be written
    second = asyncio.create_task(stream.write(batch))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()  # and no more is taken than that
    may_write.set()
    await second

    assert (await stream.finish()).size_bytes == 2 * BATCH_BYTES


async def test_a_full_disk_is_told_and_leaves_nothing(
    blobs: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> object:
        raise BlobStoreFull

    monkeypatch.setattr(blobs, "stage", full)
    stream = Staging(blobs).stream()
    await stream.write(b"some")
    with pytest.raises(BlobStoreFull):
        await stream.finish()
    await stream.abort()
    assert left(blobs) == []


async def test_an_aborted_upload_leaves_nothing(blobs: LocalBlobStore) -> None:
    stream = Staging(blobs).stream()
    for _ in range(3):
        await stream.write(bytes(BATCH_BYTES))
    await stream.abort()
    await stream.abort()
    assert left(blobs) == []


class _Refusing:
    def decode(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk
        raise InvalidRequest("no")

    def end(self) -> None:
        raise AssertionError


async def test_what_the_decoder_refuses_is_told_and_leaves_nothing(blobs: LocalBlobStore) -> None:
    stream = Staging(blobs).stream(_Refusing())
    await stream.write(bytes(BATCH_BYTES))
    with pytest.raises(InvalidRequest):
        await stream.finish()
    await stream.abort()
    assert left(blobs) == []


async def test_a_cancelled_finish_leaves_nothing_once_it_is_aborted(
    blobs: LocalBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    stage = blobs.stage

    def slow_stage() -> object:
        may_write.wait()
        return stage()

    monkeypatch.setattr(blobs, "stage", slow_stage)
    stream = Staging(blobs).stream()
    await stream.write(b"some")
    finishing = asyncio.create_task(stream.finish())
    await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    may_write.set()
    await stream.abort()
    assert left(blobs) == []
