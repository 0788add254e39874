"""Blobs as the database knows them: claimed while a row is written, deleted when none is left."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from backend.db.tables import GlobalModel, LocalModel, LocalMoments, ModelVersion
from compute.blobs import BlobStore, Staged


class Weights:
    """Keeps blob store and database in step, within one web process."""

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def recorded(self, *uploads: Staged) -> AsyncIterator[None]:
        """Make uploads durable for the block that writes rows about them.

        When the block fails, blobs that no row refers to are deleted again.
        """
        digests = sorted({upload.digest for upload in uploads})
        locks = [self._lock(digest) for digest in digests]
        for lock in locks:
            await lock.acquire()
        try:
            for upload in uploads:
                await asyncio.to_thread(self.blobs.promote, upload)
            yield
        except BaseException:
            for digest in digests:
                await self._delete_unreferenced(digest)
            raise
        finally:
            for lock in locks:
                lock.release()

    @asynccontextmanager
    async def written(self, digest: str) -> AsyncIterator[None]:
        """Keep a blob that compute wrote for the block that writes its row; as `recorded`."""
        async with self._lock(digest):
            try:
                yield
            except BaseException:
                await self._delete_unreferenced(digest)
                raise

    async def drop(self, digests: Iterable[str]) -> None:
        """Delete those of the blobs that no row refers to any more."""
        for digest in sorted(set(digests)):
            async with self._lock(digest):
                await self._delete_unreferenced(digest)

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())

    async def _delete_unreferenced(self, digest: str) -> None:
        if not await is_referenced(digest):
            await asyncio.to_thread(self.blobs.delete, digest)


async def is_referenced(digest: str) -> bool:
    """Whether some row needs the blob."""
    return (
        await GlobalModel.exists().where(
            (GlobalModel.digest == digest)
            | (GlobalModel.preprocessing_digest == digest)
            | (GlobalModel.swag_first_digest == digest)
            | (GlobalModel.swag_second_digest == digest)
        )
        or await ModelVersion.exists().where(ModelVersion.digest == digest)
        or await LocalModel.exists().where((LocalModel.digest == digest) & LocalModel.kept.eq(True))
        or await LocalMoments.exists().where(
            ((LocalMoments.first_digest == digest) | (LocalMoments.second_digest == digest))
            & LocalMoments.kept.eq(True)
        )
    )
