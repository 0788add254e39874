"""Content-addressed store of weights: a blob's key is the SHA-256 of its bytes.

An upload is first *staged* under a random key while its digest is taken; it may be read and checked
there, and is then either promoted to its address or discarded. Two implementations of one protocol:

    file:///abs/path                        `LocalBlobStore`, a folder, durable by fsync
    s3://bucket/prefix?endpoint=…&region=…  `S3BlobStore`, any S3-compatible service

All calls are synchronous: the backend makes them in threads.

Errors:
    BlobError
    ├── UnsafeKey             neither a digest nor a staged key
    ├── BlobNotFound
    ├── BlobCorrupt           the bytes do not have the digest that their address says
    ├── BlobStoreFull         no space is left; nothing was stored
    └── BlobStoreUnavailable  the store does not answer, or refuses: try again later
"""

import contextlib
import errno
import hashlib
import mmap
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import obstore
from obstore.exceptions import BaseError as ObjectStoreError
from obstore.store import S3Store

Chunk = bytes | bytearray | memoryview

CHUNK_BYTES = 1024 * 1024
DEFAULT_CACHE_BYTES = 8 * 1024**3
STAGED_PREFIX = "staged/"
# The largest object that S3 copies in one request; a larger one is streamed through us.
S3_COPY_LIMIT_BYTES = 5 * 1024**3

# The disk is full, a quota is used up, or the file is as large as this process may write.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Another file system, one without hard links, somebody else's file, or too many links.
_CANNOT_LINK = frozenset(
    {errno.EXDEV, errno.ENOTSUP, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EACCES}
)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_STAGED_KEY = re.compile(r"staged/[0-9a-f]{32}")


class BlobError(Exception):
    """Base of everything that the store raises."""


class UnsafeKey(BlobError, ValueError):
    """The key is neither 64 lower-case hex digits nor staged/ and 32 of them."""


class BlobNotFound(BlobError):
    """There is no blob under this key."""


class BlobCorrupt(BlobError):
    """The bytes stored under a digest do not have this digest."""


class BlobStoreFull(BlobError):
    """No space (or quota) is left; what was being written is gone again."""


class BlobStoreUnavailable(BlobError):
    """The store does not answer or refuses; the same call may succeed later."""


@dataclass(frozen=True)
class BlobRef:
    """A durable blob, by content."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Staged:
    """A complete upload that has no address yet.

    Attributes:
        key: "staged/" and 32 hex digits; readable like any other key.
        digest: SHA-256 of its bytes, the key it will have once promoted.
    """

    key: str
    digest: str
    size_bytes: int


class StagedWriter(Protocol):
    """Takes the bytes of one upload; ends with exactly one of `finish` and `abort`."""

    def write(self, chunk: Chunk) -> int:
        """Append; gives the number of bytes taken. Raises `BlobStoreFull`."""
        ...

    def finish(self) -> Staged:
        """The staged upload, complete and closed. Raises `BlobStoreFull`."""
        ...

    def abort(self) -> None:
        """Leave nothing behind; harmless after `finish` failed and when repeated."""


class BlobStore(Protocol):
    """Where weights live.

    Constraints: `promote` and `put*` return only when the bytes are durable. A blob is complete or
    absent, at any instant and after any crash. Every call may be repeated.
    """

    def stage(self) -> StagedWriter:
        """A writer to an upload that has no address yet."""
        ...

    def flush(self, staged: Staged) -> None:
        """Bring an upload to the disk ahead of `promote`, which then has less to wait for.

        Nothing happens where there is no such upload any more. Raises `BlobStoreFull` or
        `BlobStoreUnavailable`: it is damaged, and MUST NOT be promoted.
        """

    def promote(self, staged: Staged) -> BlobRef:
        """The durable blob; a repeat, or one that is there already, is the same blob again.

        Raises `BlobNotFound` when neither the upload nor the blob exists.
        """
        ...

    def discard(self, staged: Staged) -> None:
        """Forget an upload that was not promoted; a repeat changes nothing."""

    def put(self, chunks: Iterable[Chunk]) -> BlobRef:
        """The durable blob of these bytes."""
        ...

    def put_file(self, path: Path, *, consume: bool = False) -> BlobRef:
        """The durable blob of the file's bytes.

        Args:
            consume: The file is not needed any more: it may be moved instead of copied, and is gone
                afterwards.
        """
        ...

    def stage_file(self, path: Path) -> Staged:
        """A staged upload of the file's bytes; the file stays, and MUST NOT change any more.

        Raises `BlobNotFound` when there is no such file.
        """
        ...

    def scratch_file(self) -> contextlib.AbstractContextManager[Path]:
        """A path to write a file at that `put_file(consume=True)` takes cheaply.

        It is gone at the end.
        """
        ...

    def read(
        self, key: str, *, chunk_bytes: int = CHUNK_BYTES, offset: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """The bytes from `offset` up to `end` (exclusive), in chunks of at most `chunk_bytes`.

        Raises `BlobNotFound` before the first chunk.
        """
        ...

    def pieces(
        self, key: str, *, piece_bytes: int = CHUNK_BYTES, offset: int = 0, end: int | None = None
    ) -> Iterator[Chunk]:
        """As `read`, copied by nobody where the store can help it: for what is only sent on.

        Whoever asks for the next piece waits for the disk; whoever has it does not.
        """
        ...

    def size(self, key: str) -> int:
        """Bytes of the blob or staged upload. Raises `BlobNotFound`."""
        ...

    def exists(self, key: str) -> bool:
        """Whether it is there."""
        ...

    def delete(self, key: str) -> None:
        """Remove it; a repeat changes nothing. Who has it open may read on."""

    def digests(self, *, older_than_seconds: float = 0.0) -> Iterator[str]:
        """Every blob last put at least so long ago; for a sweeper of orphans."""
        ...

    def sweep_staged(self, *, older_than_seconds: float) -> int:
        """Remove what crashed uploads left behind; gives their number."""
        ...

    def local_path(self, key: str) -> contextlib.AbstractContextManager[Path]:
        """A file with these bytes, readable until the context ends and never to be written to."""
        ...

    def check(self) -> None:
        """Raises a `BlobError` when the store cannot be written to."""


def open_blob_store(
    url: str, *, cache_dir: Path | None = None, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> BlobStore:
    """The store at `url`; a local folder is created when missing.

    Args:
        url: `file:///abs/path`, or `s3://bucket/prefix` with obstore's S3 options as its query
            (`endpoint`, `region`, `access_key_id`, `secret_access_key`, `session_token`, …). What
            the query leaves out, obstore finds in the usual AWS_* variables and metadata services.
        cache_dir: Where an S3 store keeps downloads; a private folder of the user by default.
        cache_bytes: How much it keeps there.

    Raises:
        ValueError: the URL is of no supported kind.
        BlobError: the folder cannot be made.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path:
        return LocalBlobStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return S3BlobStore(
            _s3_from_url(parts), cache_dir or _private_cache_dir(), cache_bytes=cache_bytes
        )
    message = (
        f"Blob URL must be file:///absolute/path or s3://bucket/prefix, not {_redacted(parts)}."
    )
    raise ValueError(message)


def is_digest(key: str) -> bool:
    """Whether `key` addresses a blob (and not a staged upload)."""
    return _DIGEST.fullmatch(key) is not None


def storage_error(error: OSError) -> BlobError:
    """What a failed write means: no space is left, or the store is not available."""
    kind = BlobStoreFull if error.errno in _NO_SPACE else BlobStoreUnavailable
    return kind(str(error))


def require_room(path: Path, size_bytes: int) -> None:
    """Raises `BlobStoreFull` unless a file of this size fits where `path` is; leaves no file."""
    try:
        with path.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            finally:
                path.unlink()
    except OSError as error:
        raise storage_error(error) from error


class LocalBlobStore:
    """Blobs as files under one folder: `blobs/ab/abcd…` and `staged/…`, on one file system."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = root / "blobs"
        self._staged = root / "staged"
        with _translated():
            for folder in (self._blobs, self._staged):
                _make_folder(folder)

    def stage(self) -> "_LocalWriter":
        return _LocalWriter(self._staged / uuid.uuid4().hex)

    def flush(self, staged: Staged) -> None:
        with _translated(), contextlib.suppress(FileNotFoundError):
            _fsync_file(self._path(staged.key))

    def promote(self, staged: Staged) -> BlobRef:
        source = self._path(staged.key)
        target = self._path(staged.digest)
        with _translated():
            try:
                _fsync_file(source)
                os.utime(source)  # it counts as put now, however long it was on its way
            except FileNotFoundError:
                if not target.exists():
                    raise
            else:
                self._move(source, target)
        return BlobRef(staged.digest, staged.size_bytes)

    def discard(self, staged: Staged) -> None:
        self.delete(staged.key)

    def put(self, chunks: Iterable[Chunk]) -> BlobRef:
        return _put_chunks(self, chunks)

    def put_file(self, path: Path, *, consume: bool = False) -> BlobRef:
        if not consume:
            return _put_chunks(self, _file_chunks(path))
        with _translated():
            digest, size_bytes = _digest_of(path)
            staged = Staged(STAGED_PREFIX + uuid.uuid4().hex, digest, size_bytes)
            try:
                path.rename(self._path(staged.key))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            else:
                return self.promote(staged)
        blob = _put_chunks(self, _file_chunks(path))  # another file system: copy
        path.unlink(missing_ok=True)
        return blob

    def stage_file(self, path: Path) -> Staged:
        with _translated():
            digest, size_bytes = _digest_of(path)
            staged = Staged(STAGED_PREFIX + uuid.uuid4().hex, digest, size_bytes)
            os.utime(path)  # or a sweep of what was staged long ago would take it
            try:
                self._path(staged.key).hardlink_to(path)
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
            else:
                return staged
        return _stage_chunks(self, _file_chunks(path))

    @contextlib.contextmanager
    def scratch_file(self) -> Iterator[Path]:
        # Among the staged files, so that `sweep_staged` finds what a crash leaves.
        with _translated():
            folder = tempfile.TemporaryDirectory(prefix="scratch-", dir=self._staged)
        with folder:
            yield Path(folder.name) / "scratch"

    def read(
        self, key: str, *, chunk_bytes: int = CHUNK_BYTES, offset: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        with _translated():
            file = self._path(key).open("rb")
        return _file_range(file.fileno(), file, chunk_bytes, offset, end)

    def pieces(
        self, key: str, *, piece_bytes: int = CHUNK_BYTES, offset: int = 0, end: int | None = None
    ) -> Iterator[Chunk]:
        with _translated():
            file = self._path(key).open("rb")
        return _file_views(file.fileno(), file, piece_bytes, offset, end)

    def size(self, key: str) -> int:
        with _translated():
            return self._path(key).stat().st_size

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        with _translated():
            self._path(key).unlink(missing_ok=True)

    def digests(self, *, older_than_seconds: float = 0.0) -> Iterator[str]:
        latest = time.time() - older_than_seconds
        for path in self._blobs.glob("??/*"):
            if _DIGEST.fullmatch(path.name) and _modified_before(path, latest):
                yield path.name

    def sweep_staged(self, *, older_than_seconds: float) -> int:
        latest = time.time() - older_than_seconds
        swept = 0
        for path in self._staged.iterdir():
            if _modified_before(path, latest):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                swept += 1
        return swept

    @contextlib.contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        if not path.is_file():
            raise BlobNotFound(key)
        yield path

    def check(self) -> None:
        writer = self.stage()
        try:
            writer.write(b"check")
        finally:
            writer.abort()

    def _path(self, key: str) -> Path:
        _require_safe(key)
        if key.startswith(STAGED_PREFIX):
            return self.root / key
        return self._blobs / key[:2] / key

    def _move(self, source: Path, target: Path) -> None:
        """Give the fsynced `source` its address, durably.

        A blob that is there already is replaced by the same bytes: that makes it young again, so
        that a sweep of old orphans running at this moment does not take it.
        """
        target.parent.mkdir(exist_ok=True)
        source.replace(target)
        _fsync_directory(target.parent)
        # Even if the folder was there: who made it may not have come to this line yet.
        _fsync_directory(self._blobs)


class _LocalWriter:
    """Writes one staged file; the digest is taken on the way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        with _translated():
            self._file = path.open("xb", buffering=0)

    def write(self, chunk: Chunk) -> int:
        view = memoryview(chunk).cast("B")
        try:
            with _translated():
                rest = view
                while rest:  # an unbuffered file may take less than it is given
                    rest = rest[self._file.write(rest) :]
        except BlobError:
            self.abort()
            raise
        self._sha256.update(view)
        self._size_bytes += len(view)
        return len(view)

    def finish(self) -> Staged:
        try:
            with _translated():
                self._file.close()
        except BlobError:
            self.abort()
            raise
        return Staged(STAGED_PREFIX + self._path.name, self._sha256.hexdigest(), self._size_bytes)

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # closing may report the full disk a second time
            self._file.close()
        self._path.unlink(missing_ok=True)


class S3BlobStore:
    """Blobs as objects `<prefix>/blobs/ab/abcd…` and `<prefix>/staged/…` of one bucket."""

    def __init__(
        self, store: S3Store, cache_dir: Path, *, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        self._store = store
        self._cache_dir = cache_dir
        self._cache_bytes = cache_bytes

    def stage(self) -> "_S3Writer":
        return _S3Writer(self._store, STAGED_PREFIX + uuid.uuid4().hex)

    def flush(self, staged: Staged) -> None:
        """What was uploaded is durable already."""

    def promote(self, staged: Staged) -> BlobRef:
        source, target = _s3_path(staged.key), _s3_path(staged.digest)
        with _translated():
            try:
                if staged.size_bytes <= S3_COPY_LIMIT_BYTES:
                    obstore.copy(self._store, source, target)
                else:
                    obstore.put(self._store, target, obstore.get(self._store, source).stream())
            except FileNotFoundError:
                if not self.exists(staged.digest):
                    raise
        self.discard(staged)
        return BlobRef(staged.digest, staged.size_bytes)

    def discard(self, staged: Staged) -> None:
        self.delete(staged.key)

    def put(self, chunks: Iterable[Chunk]) -> BlobRef:
        return _put_chunks(self, chunks)

    def put_file(self, path: Path, *, consume: bool = False) -> BlobRef:
        blob = _put_chunks(self, _file_chunks(path))
        if consume:
            path.unlink(missing_ok=True)
        return blob

    def stage_file(self, path: Path) -> Staged:
        with _translated():
            return _stage_chunks(self, _file_chunks(path))

    @contextlib.contextmanager
    def scratch_file(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="starling-") as folder:
            yield Path(folder) / "scratch"

    def read(
        self, key: str, *, chunk_bytes: int = CHUNK_BYTES, offset: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        views = self.pieces(key, piece_bytes=chunk_bytes, offset=offset, end=end)
        return (bytes(view) for view in views)

    def pieces(
        self, key: str, *, piece_bytes: int = CHUNK_BYTES, offset: int = 0, end: int | None = None
    ) -> Iterator[memoryview]:
        size_bytes = self.size(key)
        end = size_bytes if end is None else min(end, size_bytes)
        if offset >= end:
            return iter(())
        with _translated():
            result = obstore.get(self._store, _s3_path(key), options={"range": (offset, end)})
        return _s3_views(result, piece_bytes)

    def size(self, key: str) -> int:
        with _translated():
            return obstore.head(self._store, _s3_path(key))["size"]

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except BlobNotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        with _translated(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, _s3_path(key))

    def digests(self, *, older_than_seconds: float = 0.0) -> Iterator[str]:
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        with _translated():
            for batch in obstore.list(self._store, prefix="blobs"):
                for entry in batch:
                    digest = entry["path"].rpartition("/")[2]
                    if _DIGEST.fullmatch(digest) and entry["last_modified"] <= latest:
                        yield digest

    def sweep_staged(self, *, older_than_seconds: float) -> int:
        latest = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        swept = 0
        with _translated():
            for batch in obstore.list(self._store, prefix="staged"):
                for entry in batch:
                    if entry["last_modified"] <= latest:
                        obstore.delete(self._store, entry["path"])
                        swept += 1
        return swept

    @contextlib.contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        _require_safe(key)
        self._cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._cache_dir.stat().st_uid != os.getuid():
            message = f"The blob cache {self._cache_dir} belongs to another user."
            raise BlobStoreUnavailable(message)
        # Readers hold a hard link of their own: the cache may drop its entry under them at any
        # time, from this process or another.
        with tempfile.TemporaryDirectory(prefix="use-", dir=self._cache_dir) as folder:
            path = Path(folder) / "blob"
            cached = self._cache_dir / key
            if not is_digest(key):
                self._download(key, path)
            elif not _link_if_there(cached, path):
                self._download(key, path)
                self._make_room(path.stat().st_size)
                with contextlib.suppress(FileExistsError):  # someone else fetched it meanwhile
                    cached.hardlink_to(path)
            yield path

    def check(self) -> None:
        writer = self.stage()
        try:
            writer.write(b"check")
            self.discard(writer.finish())
        finally:
            writer.abort()

    def _download(self, key: str, path: Path) -> None:
        sha256 = hashlib.sha256()
        with _translated(), path.open("wb", buffering=0) as file:
            for chunk in self.read(key):
                sha256.update(chunk)
                file.write(chunk)
        if is_digest(key) and sha256.hexdigest() != key:
            raise BlobCorrupt(key)

    def _make_room(self, needed_bytes: int) -> None:
        """Drop the entries used least recently until `needed_bytes` more fit."""
        entries: list[tuple[float, int, Path]] = []
        for path in self._cache_dir.iterdir():
            if is_digest(path.name):
                with contextlib.suppress(FileNotFoundError):  # dropped by another process
                    status = path.stat()
                    entries.append((status.st_mtime, status.st_size, path))
        kept_bytes = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if kept_bytes + needed_bytes <= self._cache_bytes:
                return
            path.unlink(missing_ok=True)
            kept_bytes -= size


class _S3Writer:
    """Uploads one staged object in parts; the digest is taken on the way."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        self._file = obstore.open_writer(store, key, max_concurrency=2)

    def write(self, chunk: Chunk) -> int:
        block = bytes(chunk)
        with _translated():
            self._file.write(block)
        self._sha256.update(block)
        self._size_bytes += len(block)
        return len(block)

    def finish(self) -> Staged:
        with _translated():
            self._file.close()
        return Staged(self._key, self._sha256.hexdigest(), self._size_bytes)

    def abort(self) -> None:
        # A multipart upload ends only by completing it; then the object can go.
        with contextlib.suppress(ObjectStoreError, OSError):
            if not self._file.closed():
                self._file.close()
            obstore.delete(self._store, self._key)


def _require_safe(key: str) -> None:
    if not (_DIGEST.fullmatch(key) or _STAGED_KEY.fullmatch(key)):
        message = f"Not a blob key: {key[:80]!r}"
        raise UnsafeKey(message)


def _put_chunks(store: BlobStore, chunks: Iterable[Chunk]) -> BlobRef:
    return store.promote(_stage_chunks(store, chunks))


def _stage_chunks(store: BlobStore, chunks: Iterable[Chunk]) -> Staged:
    writer = store.stage()
    try:
        for chunk in chunks:
            writer.write(chunk)
        return writer.finish()
    except BaseException:
        writer.abort()
        raise


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _file_range(
    descriptor: int,
    file: contextlib.AbstractContextManager[object],
    chunk_bytes: int,
    offset: int,
    end: int | None,
) -> Iterator[bytes]:
    with file:
        while end is None or offset < end:
            wanted = chunk_bytes if end is None else min(chunk_bytes, end - offset)
            chunk = os.pread(descriptor, wanted, offset)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk


def _file_views(
    descriptor: int,
    file: contextlib.AbstractContextManager[object],
    piece_bytes: int,
    offset: int,
    end: int | None,
) -> Iterator[memoryview]:
    """Views of the file; each has a mapping of its own, gone when nobody looks at it any more."""
    with file, Path(os.devnull).open("wb", buffering=0) as nowhere:
        size_bytes = os.fstat(descriptor).st_size
        end = size_bytes if end is None else min(end, size_bytes)
        while offset < end:
            stop = min(offset + piece_bytes, end)
            _bring_to_memory(descriptor, nowhere.fileno(), offset, stop)
            start = offset - offset % mmap.ALLOCATIONGRANULARITY
            mapping = mmap.mmap(descriptor, stop - start, access=mmap.ACCESS_READ, offset=start)
            yield memoryview(mapping)[offset - start :]
            offset = stop


def _bring_to_memory(descriptor: int, nowhere: int, offset: int, stop: int) -> None:
    """Wait until the page cache has the bytes: sent to /dev/null they are read, not copied.

    Where a file system cannot send, whoever looks at a mapping of them waits.
    """
    with contextlib.suppress(OSError):
        while offset < stop and (sent := os.sendfile(nowhere, descriptor, offset, stop - offset)):
            offset += sent


def _s3_views(result: "obstore.GetResult", piece_bytes: int) -> Iterator[memoryview]:
    with _translated():
        for block in result.stream(min_chunk_size=piece_bytes):
            view = memoryview(block)
            for start in range(0, len(view), piece_bytes):
                yield view[start : start + piece_bytes]


def _digest_of(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def _modified_before(path: Path, latest: float) -> bool:
    try:
        return path.stat().st_mtime <= latest
    except FileNotFoundError:
        return False


def _link_if_there(cached: Path, path: Path) -> bool:
    try:
        path.hardlink_to(cached)
    except FileNotFoundError:
        return False
    os.utime(path)  # one inode under two names: this marks the cache's entry as used
    return True


def _make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, durably."""
    try:
        path.mkdir()
    except FileNotFoundError:
        _make_folder(path.parent)
        _make_folder(path)
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        _fsync_directory(path.parent)


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_fsync_directory = _fsync_file


def _s3_path(key: str) -> str:
    _require_safe(key)
    return key if key.startswith(STAGED_PREFIX) else f"blobs/{key[:2]}/{key}"


def _s3_from_url(parts: SplitResult) -> S3Store:
    options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    plain_http = options.get("endpoint", "").startswith("http://")
    try:
        # obstore checks the names of the options itself and refuses unknown ones.
        return S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={"allow_http": plain_http},
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=30)},
            **options,  # type: ignore[arg-type]
        )
    except ObjectStoreError as error:
        raise ValueError(str(error).partition("\n")[0].rstrip(".")) from error


def _redacted(parts: SplitResult) -> str:
    """The URL without its query, which may hold credentials."""
    return parts._replace(query="").geturl()


def _private_cache_dir() -> Path:
    return Path(tempfile.gettempdir()) / f"starling-blobs-{os.getuid()}"


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn what files and obstore raise into the errors of this module."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobNotFound(str(error)) from error
    except ObjectStoreError as error:
        raise BlobStoreUnavailable(str(error)) from error
    except OSError as error:
        raise storage_error(error) from error
