"""One suite for every blob store. S3 is moto's server on loopback: no S3 service can run here."""

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer

from compute.blobs import (
    BlobCorrupt,
    BlobNotFound,
    BlobRef,
    BlobStore,
    BlobStoreUnavailable,
    LocalBlobStore,
    S3BlobStore,
    Staged,
    UnsafeKey,
    open_blob_store,
)

CONTENT = random.Random(0).randbytes(3 * 1024**2 + 17)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MISSING = "0" * 64


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "file":
        return open_blob_store((tmp_path / "blobs").as_uri())
    return s3_store(request.getfixturevalue("s3_endpoint"), tmp_path / "cache")


def s3_store(endpoint: str, cache: Path, cache_bytes: int = 1024**3) -> BlobStore:
    bucket = f"bucket-{uuid.uuid4().hex}"
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=bucket)
    client.close()
    query = f"endpoint={endpoint}&region=us-east-1&access_key_id=a&secret_access_key=b"
    return open_blob_store(
        f"s3://{bucket}/some/prefix?{query}", cache_dir=cache, cache_bytes=cache_bytes
    )


def stage(store: BlobStore, content: bytes = CONTENT) -> Staged:
    writer = store.stage()
    for start in range(0, len(content), 65_536):
        writer.write(memoryview(content)[start : start + 65_536])
    return writer.finish()


def read(store: BlobStore, key: str, **window: int) -> bytes:
    return b"".join(store.read(key, **window))


def test_a_staged_upload_has_its_digest_and_can_be_read(store: BlobStore) -> None:
    staged = stage(store)
    assert (staged.digest, staged.size_bytes) == (DIGEST, len(CONTENT))
    assert read(store, staged.key) == CONTENT
    assert not store.exists(DIGEST)


def test_a_promoted_upload_is_at_its_digest_and_no_longer_staged(store: BlobStore) -> None:
    staged = stage(store)
    assert store.promote(staged) == BlobRef(DIGEST, len(CONTENT))
    assert read(store, DIGEST) == CONTENT
    assert not store.exists(staged.key)
    assert list(store.digests()) == [DIGEST]


def test_promoting_again_and_promoting_the_same_bytes_change_nothing(store: BlobStore) -> None:
    first, second = stage(store), stage(store)
    assert store.promote(first) == store.promote(first) == store.promote(second)
    assert list(store.digests()) == [DIGEST]
    assert not store.exists(second.key)


def test_an_upload_that_was_discarded_cannot_be_promoted(store: BlobStore) -> None:
    staged = stage(store)
    store.discard(staged)
    store.discard(staged)
    with pytest.raises(BlobNotFound):
        store.promote(staged)


def test_an_aborted_upload_leaves_nothing(store: BlobStore) -> None:
    writer = store.stage()
    writer.write(CONTENT)
    writer.abort()
    writer.abort()
    assert store.sweep_staged(older_than_seconds=0) == 0


def test_chunks_and_files_are_put(store: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert store.put([CONTENT[:1000], CONTENT[1000:]]).digest == DIGEST
    assert store.put_file(path).digest == DIGEST
    assert path.exists()
    assert store.put_file(path, consume=True).digest == DIGEST
    assert not path.exists()


def test_a_scratch_file_can_be_put_and_leaves_nothing(store: BlobStore) -> None:
    with store.scratch_file() as path:
        path.write_bytes(CONTENT)
        assert store.put_file(path, consume=True).digest == DIGEST
    with store.scratch_file() as path:
        path.write_bytes(CONTENT)
    assert not path.exists()
    assert store.sweep_staged(older_than_seconds=0) == 0
    assert read(store, DIGEST) == CONTENT


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    blob = store.put([])
    assert store.size(blob.digest) == 0
    assert read(store, blob.digest) == b""
    assert list(store.pieces(blob.digest)) == []


@pytest.mark.parametrize(
    ("offset", "end"), [(0, None), (5, None), (5, 6), (0, 10**9), (2**20, 2**20 + 3), (10**9, None)]
)
def test_a_window_is_read_in_small_chunks(store: BlobStore, offset: int, end: int | None) -> None:
    store.put([CONTENT])
    chunks = list(store.read(DIGEST, chunk_bytes=100_000, offset=offset, end=end))
    assert b"".join(chunks) == CONTENT[offset:end]
    assert all(0 < len(chunk) <= 100_000 for chunk in chunks)
    pieces = list(store.pieces(DIGEST, piece_bytes=100_000, offset=offset, end=end))
    assert b"".join(pieces) == CONTENT[offset:end]
    assert all(0 < len(piece) <= 100_000 for piece in pieces)


def test_what_is_missing_is_said_to_be(store: BlobStore) -> None:
    assert not store.exists(MISSING)
    with pytest.raises(BlobNotFound):
        store.size(MISSING)
    with pytest.raises(BlobNotFound):
        store.read(MISSING)
    with pytest.raises(BlobNotFound):
        store.pieces(MISSING)
    with pytest.raises(BlobNotFound), store.local_path(MISSING):
        pass
    store.delete(MISSING)


@pytest.mark.parametrize(
    "key", ["", "../../etc/passwd", DIGEST.upper(), DIGEST[:-1], "staged/../x", f"{DIGEST}\n"]
)
def test_an_unsafe_key_is_refused(store: BlobStore, key: str) -> None:
    for call in (store.size, store.read, store.delete, store.exists):
        with pytest.raises(UnsafeKey):
            call(key)
    with pytest.raises(UnsafeKey), store.local_path(key):
        pass


def test_a_deleted_blob_is_gone(store: BlobStore) -> None:
    store.put([CONTENT])
    store.delete(DIGEST)
    store.delete(DIGEST)
    assert list(store.digests()) == []


def test_a_local_path_holds_the_bytes_even_when_the_blob_is_deleted_meanwhile(
    store: BlobStore,
) -> None:
    staged = stage(store)
    with store.local_path(staged.key) as path:
        assert path.read_bytes() == CONTENT
    store.promote(staged)
    with store.local_path(DIGEST) as path, path.open("rb") as file:
        store.delete(DIGEST)
        assert file.read() == CONTENT


def test_only_old_leftovers_and_blobs_are_offered_to_the_sweeper(store: BlobStore) -> None:
    stage(store)
    store.put([CONTENT])
    assert store.sweep_staged(older_than_seconds=3600) == 0
    assert list(store.digests(older_than_seconds=3600)) == []
    assert store.sweep_staged(older_than_seconds=-1) == 1
    assert list(store.digests(older_than_seconds=-1)) == [DIGEST]


def test_a_working_store_checks_out_and_keeps_nothing_of_it(store: BlobStore) -> None:
    store.check()
    assert store.sweep_staged(older_than_seconds=-1) == 0


@pytest.mark.parametrize("url", ["ftp://x/y", "file://elsewhere/x", "s3:///x", "/plain/path", ""])
def test_an_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Blob URL must be"):
        open_blob_store(url)


def test_a_secret_in_a_refused_url_is_not_shown() -> None:
    with pytest.raises(ValueError, match="Blob URL") as caught:
        open_blob_store("http://x/y?secret_access_key=hush")
    assert "hush" not in str(caught.value)


def test_a_scratch_directory_of_a_crashed_writer_is_swept(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    folder = tmp_path / "staged" / "scratch-left"
    folder.mkdir()
    (folder / "archive").write_bytes(CONTENT)
    assert store.sweep_staged(older_than_seconds=-1) == 1
    assert list((tmp_path / "staged").iterdir()) == []


def test_a_folder_on_another_file_system_is_put_by_copying(tmp_path: Path) -> None:
    other = Path("/dev/shm")  # noqa: S108 - the second file system that most machines have
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    path = other / uuid.uuid4().hex
    path.write_bytes(CONTENT)
    try:
        assert LocalBlobStore(tmp_path).put_file(path, consume=True).digest == DIGEST
        assert not path.exists()
    finally:
        path.unlink(missing_ok=True)


def test_a_full_disk_is_reported_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    tries = unshare and subprocess.run(
        [unshare, "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if not tries or tries.returncode:
        pytest.skip("needs user namespaces, to mount a small disk")
    program = """
import os, sys
from pathlib import Path
from compute.blobs import BlobStoreFull, LocalBlobStore
store = LocalBlobStore(Path(sys.argv[1]))
try:
    store.put(os.urandom(65536) for _ in range(64))
except BlobStoreFull:
    print(store.sweep_staged(older_than_seconds=-1), list(store.digests()))
store.put([b"small"])
"""
    mounted = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "$0" -c "$1" "{tmp_path}"'
    done = subprocess.run(
        [str(unshare), "-rm", "sh", "-c", mounted, sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stdout) == (0, "0 []\n"), done.stderr


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BlobStoreUnavailable) as caught:
        open_blob_store((tmp_path / "file" / "blobs").as_uri())
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOTDIR


def test_a_blob_that_decayed_in_s3_is_not_handed_out(s3_endpoint: str, tmp_path: Path) -> None:
    store = s3_store(s3_endpoint, tmp_path)
    assert isinstance(store, S3BlobStore)
    obstore.put(store._store, f"blobs/{DIGEST[:2]}/{DIGEST}", b"other bytes")
    with pytest.raises(BlobCorrupt), store.local_path(DIGEST):
        pass


def test_the_cache_of_s3_stays_within_its_bounds(s3_endpoint: str, tmp_path: Path) -> None:
    store = s3_store(s3_endpoint, tmp_path, cache_bytes=250)
    digests = [store.put([bytes([value]) * 100]).digest for value in range(4)]
    for digest in [*digests, digests[0]]:
        with store.local_path(digest) as path:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        assert sum(file.stat().st_size for file in tmp_path.iterdir() if file.is_file()) <= 250


def test_an_s3_service_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    query = "endpoint=http://127.0.0.1:9&region=x&access_key_id=a&secret_access_key=b"
    store = open_blob_store(f"s3://bucket?{query}", cache_dir=tmp_path)
    with pytest.raises(BlobStoreUnavailable):
        store.size(DIGEST)
