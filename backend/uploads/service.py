"""Resumable uploads: bytes are appended to a file of their own until all have arrived.

The row says who may append how much until when; the offset is the size of the file, so it is right
after any crash. A finished upload may be used in place of a file of a form, more than once, so that
a request whose answer was lost can be repeated; it goes when its time is over, when its owner
deletes it, or when its owner begins more uploads than there is room for.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

import msgspec

from backend.db.engine import Database
from backend.db.tables import PartialUpload, User
from backend.errors import (
    ChecksumMismatch,
    Conflict,
    InvalidRequest,
    NothingHere,
    TooLarge,
    UploadInUse,
)
from backend.security.ids import parse_id
from backend.uploads.checksums import Checksum
from compute.blobs import BlobNotFound, BlobStore, Staged, storage_error

LIFETIME = timedelta(hours=24)
MAX_UPLOADS_PER_USER = 16
# All uploads of a user together, in units of the largest that is allowed.
MAX_LARGEST_PER_USER = 4
# Who sends nothing for so long has to come back: a dead connection must not keep its turn.
IDLE_SECONDS = 30.0
WRITE_BATCH_BYTES = 1024**2


class UploadState(msgspec.Struct, frozen=True):
    """How far an upload is.

    Attributes:
        offset: Bytes that have arrived; the next request sends on from here.
    """

    id: UUID
    offset: int
    size_bytes: int
    expires_at: datetime


class PartialUploads:
    """The resumable uploads of all users, as files in one folder.

    Constraints: one process uses the folder at a time (the data directory is locked).
    """

    def __init__(
        self, *, database: Database, blobs: BlobStore, folder: Path, max_upload_bytes: int
    ) -> None:
        self.max_upload_bytes = max_upload_bytes
        self._database = database
        self._blobs = blobs
        self._folder = folder
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def begin(self, owner: UUID, size_bytes: int) -> UploadState:
        """A new upload of which nothing has arrived yet.

        Finished uploads of the owner make room for it, the oldest first.

        Raises:
            TooLarge: it is larger than the server takes.
            Conflict: the owner has too many unfinished ones.
        """
        if size_bytes > self.max_upload_bytes:
            raise TooLarge(f"This server takes uploads of at most {self.max_upload_bytes} bytes.")
        now = datetime.now(UTC)
        row = PartialUpload(
            id=uuid4(),
            owner=owner,
            size_bytes=size_bytes,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        async with self._database.write_transaction():
            # One at a time per user: their row guards the decision.
            await User.update({User.id: owner}).where(User.id == owner)
            rows = (
                await PartialUpload.objects()
                .where(PartialUpload.owner == owner)
                .order_by(PartialUpload.created_at)
            )
            replaced = self._superseded(rows, size_bytes)
            if replaced:
                await PartialUpload.delete().where(
                    PartialUpload.id.is_in([each.id for each in replaced])
                )
            await PartialUpload.insert(row)
        for each in replaced:
            await self._forget(each.id)
        return self._state(row)

    async def find(self, given_id: str, owner: UUID) -> UploadState:
        """An upload of the caller's. Raises `NothingHere`."""
        return self._state(await self._row(given_id, owner))

    async def append(
        self,
        given_id: str,
        owner: UUID,
        offset: int,
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None,
    ) -> UploadState:
        """The upload with these bytes at its end.

        What has arrived when the sender breaks off is kept, unless it came with a checksum.

        Raises:
            NothingHere: no such upload of the caller's.
            UploadInUse: another request appends to it.
            Conflict: the upload is not at this offset.
            TooLarge: these are more bytes than were announced.
            ChecksumMismatch: the bytes are not those of the checksum.
        """
        row = await self._row(given_id, owner)
        turn = self._turns.setdefault(row.id, asyncio.Lock())
        if turn.locked():
            raise UploadInUse("Another request appends to this upload; ask for its offset.")
        async with turn:
            # It may have gone before this was our turn; after that, it waits for its end.
            row = await self._row(given_id, owner)
            here = self._offset(row.id)
            if offset != here:
                raise Conflict(f"Upload-Offset: the upload is at {here}, not at {offset}.")
            await self._append(row, offset, chunks, checksum)
        return self._state(row)

    async def delete(self, given_id: str, owner: UUID) -> None:
        """Forget an upload and its bytes. Raises `NothingHere`."""
        row = await self._row(given_id, owner)
        async with self._turns.setdefault(row.id, asyncio.Lock()):
            async with self._database.write_transaction():
                await PartialUpload.delete().where(PartialUpload.id == row.id)
            await self._forget(row.id)

    async def stage(self, field: str, given_id: str, owner: UUID) -> Staged:
        """A finished upload, staged like a file that a form brought; it can be staged again.

        Raises:
            InvalidRequest: no such upload of the caller's, or it is not complete.
        """
        try:
            row = await self._row(given_id, owner)
        except NothingHere as error:
            raise InvalidRequest.field(field, error.detail) from error
        if (here := self._offset(row.id)) < row.size_bytes:
            raise InvalidRequest.field(
                field, f"Only {here} of the {row.size_bytes} bytes of the upload have arrived."
            )
        try:
            return await asyncio.to_thread(self._stage, row.id)
        except BlobNotFound as error:
            raise InvalidRequest.field(field, f"Upload {given_id} was just deleted.") from error

    async def sweep(self) -> int:
        """Forget uploads whose time is over, and files without a row; gives their number."""
        async with self._database.write_transaction():
            await PartialUpload.delete().where(PartialUpload.expires_at < datetime.now(UTC))
        # A row is there before its file, so a file without one is nobody's any more.
        files = await asyncio.to_thread(self._files)
        known = {str(row["id"]) for row in await PartialUpload.select(PartialUpload.id)}
        orphans = [path for path in files if path.name not in known]
        for path in orphans:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        return len(orphans)

    async def _append(
        self,
        row: PartialUpload,
        offset: int,
        chunks: AsyncIterator[bytes],
        checksum: Checksum | None,
    ) -> None:
        file = await asyncio.to_thread(_AppendedFile, self._path(row.id), offset)
        try:
            async with _kept_on_failure(file, is_kept=checksum is None):
                async for batch in _batches(chunks):
                    if file.size_bytes + len(batch) > row.size_bytes:
                        raise TooLarge(
                            f"The upload was announced with {row.size_bytes} bytes; these are more."
                        )
                    if checksum is not None:
                        await asyncio.to_thread(checksum.hash.update, batch)
                    await asyncio.to_thread(file.append, batch)
                if checksum is not None and not checksum.is_met():
                    raise ChecksumMismatch(
                        "Upload-Checksum: these are not the bytes of the checksum; send them again."
                    )
        finally:
            await asyncio.to_thread(file.close)

    def _superseded(self, rows: list[PartialUpload], size_bytes: int) -> list[PartialUpload]:
        """Which of a user's uploads, oldest first, make room for one more. Raises `Conflict`."""
        finished = [row for row in rows if self._offset(row.id) == row.size_bytes]
        count = len(rows) + 1
        total_bytes = sum(row.size_bytes for row in rows) + size_bytes
        going: list[PartialUpload] = []
        most_bytes = MAX_LARGEST_PER_USER * self.max_upload_bytes
        while count > MAX_UPLOADS_PER_USER or total_bytes > most_bytes:
            if len(going) == len(finished):
                raise Conflict(
                    "You have too many unfinished uploads; finish or delete one of them first."
                )
            row = finished[len(going)]
            going.append(row)
            count, total_bytes = count - 1, total_bytes - row.size_bytes
        return going

    async def _row(self, given_id: str, owner: UUID) -> PartialUpload:
        """Raises `NothingHere` for somebody else's too."""
        try:
            upload_id = parse_id("Upload", given_id)
        except InvalidRequest as error:
            raise NothingHere(f"Upload {given_id} not found.") from error
        row = await PartialUpload.objects().get(
            (PartialUpload.id == upload_id)
            & (PartialUpload.owner == owner)
            & (PartialUpload.expires_at > datetime.now(UTC))
        )
        if row is None:
            raise NothingHere(f"Upload {given_id} not found; it may have expired.")
        return row

    def _state(self, row: PartialUpload) -> UploadState:
        return UploadState(row.id, self._offset(row.id), row.size_bytes, row.expires_at)

    def _offset(self, upload_id: UUID) -> int:
        try:
            return self._path(upload_id).stat().st_size
        except FileNotFoundError:
            return 0

    def _stage(self, upload_id: UUID) -> Staged:
        path = self._path(upload_id)
        if not path.exists():  # an upload of nothing has no file
            _AppendedFile(path, 0).close()
        return self._blobs.stage_file(path)

    async def _forget(self, upload_id: UUID) -> None:
        await asyncio.to_thread(self._path(upload_id).unlink, missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []

    def _path(self, upload_id: UUID) -> Path:
        return self._folder / str(upload_id)


class _AppendedFile:
    """A file that grows. Raises `BlobStoreFull` or `BlobStoreUnavailable`."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._start = self.size_bytes = size_bytes
        # A cancelled request may close the file while its thread still writes to it.
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise storage_error(error) from error

    def append(self, batch: bytes) -> None:
        rest = memoryview(batch)
        try:
            with self._lock:
                while rest:
                    written = os.write(self._descriptor, rest)
                    rest = rest[written:]
                    self.size_bytes += written
        except OSError as error:
            raise storage_error(error) from error

    def take_back(self) -> None:
        """Cut off what was appended."""
        with self._lock:
            os.ftruncate(self._descriptor, self._start)
            self.size_bytes = self._start

    def close(self) -> None:
        """Make durable what the next offset rests on."""
        with self._lock:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                raise storage_error(error) from error
            finally:
                os.close(self._descriptor)


@asynccontextmanager
async def _kept_on_failure(file: _AppendedFile, *, is_kept: bool) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        if not is_kept:
            # Nobody has compared these bytes with their checksum.
            await asyncio.to_thread(file.take_back)
        raise


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, joined; what came before a failure is given before it is raised.

    Raises:
        InvalidRequest: nothing came for a while.
    """
    pending = bytearray()
    failure: BaseException | None = None
    while failure is None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                pending += await anext(chunks)
        except Exception as error:  # noqa: BLE001 - raised below, after what came before it
            failure = error
        if len(pending) >= WRITE_BATCH_BYTES or (failure is not None and pending):
            batch, pending = bytes(pending), bytearray()
            yield batch
    if isinstance(failure, TimeoutError):
        message = f"Nothing was sent for {IDLE_SECONDS:g} seconds; go on where the upload is now."
        raise InvalidRequest(message) from failure
    if not isinstance(failure, StopAsyncIteration):
        raise failure
