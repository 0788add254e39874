"""Bytes on their way from a request to the staging area, written and hashed behind the event loop.

While one batch is hashed and written by a thread, the next arrives: an upload takes as long as the
slower of the two, and never more memory than two batches. The threads are few and shared by all
uploads, so that many at once leave the event loop its turn on a small machine.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from backend.content_coding import Decoder
from backend.errors import StarlingError
from compute.blobs import BlobError, BlobStore, Staged, StagedWriter

BATCH_BYTES = 512 * 1024
MAX_THREADS = 8

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Staging:
    """Where uploads go to, and the threads that bring them there."""

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs
        cores = len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(
            min(max(2, cores), MAX_THREADS), thread_name_prefix="staging"
        )

    def stream(self, decoder: Decoder | None = None) -> "StagedStream":
        """A new upload; its file is made when there is something to write.

        Args:
            decoder: What its bytes go through first, in the threads.
        """
        return StagedStream(self.blobs, self._threads, decoder)

    async def discard(self, staged: Staged) -> None:
        """Forget an upload that was not promoted."""
        await asyncio.wrap_future(self._threads.submit(self.blobs.discard, staged))


class StagedStream:
    """One upload on its way; ends with exactly one of `finish` and `abort`.

    Constraints: one caller at a time; chunks must not change once they were given.
    """

    def __init__(
        self, blobs: BlobStore, threads: ThreadPoolExecutor, decoder: Decoder | None
    ) -> None:
        self._blobs = blobs
        self._decoder = decoder
        self._threads = threads
        self._writer: StagedWriter | None = None
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._working: Awaitable[object] | None = None

    async def write(self, chunk: bytes) -> None:
        """Append; returns at once while there is room for what was given.

        Raises what the decoder raises, or `BlobError`, for what was given before.
        """
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        if self._batch_bytes >= BATCH_BYTES:
            await self._settled()
            self._working = self._begun(self._write, self._taken())

    async def finish(self) -> Staged:
        """The staged upload, complete and closed. Raises as `write`."""
        await self._settled()
        self._working = finishing = self._begun(self._finish, self._taken())
        # Shielded: a cancelled request must not forget a thread that still writes.
        return await asyncio.shield(finishing)

    async def abort(self) -> None:
        """Leave nothing behind; harmless after `finish` failed and when repeated."""
        self._batch.clear()
        try:
            # It failed or did not: what it wrote goes.
            with contextlib.suppress(BlobError, StarlingError):
                await self._settled()
        finally:
            if self._writer is not None:
                await asyncio.shield(self._begun(self._writer.abort))

    def _write(self, batch: list[bytes]) -> None:
        writer = self._opened()
        for chunk in batch:
            if self._decoder is None:
                writer.write(chunk)
            else:
                for piece in self._decoder.decode(chunk):
                    writer.write(piece)

    def _finish(self, batch: list[bytes]) -> Staged:
        self._write(batch)
        if self._decoder is not None:
            self._decoder.end()
        return self._opened().finish()

    def _opened(self) -> StagedWriter:
        if self._writer is None:
            self._writer = self._blobs.stage()
        return self._writer

    def _taken(self) -> list[bytes]:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch

    def _begun(
        self,
        work: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> asyncio.Future[_Result]:
        return asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))

    async def _settled(self) -> None:
        if self._working is not None:
            await asyncio.shield(self._working)
            self._working = None
