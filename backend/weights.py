"""Blobs as the database knows them: claimed while a row is written, deleted when none is left."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from backend.db.tables import GlobalModel, LocalModel, LocalMoments, ModelVersion
from backend.errors import DatabaseFull, DatabaseUnavailable, StarlingError
from compute.blobs import BlobError, BlobStore, BlobStoreUnavailable, Staged

logger = logging.getLogger(__name__)

# Who uploads the same bytes again waits meanwhile.
DELETED_AT_ONCE = 50


class Weights:
    """Keeps blob store and database in step, within one web process.

    A row is only ever committed while its blobs are there and durable. A blob without a row is
    harmless: a sweeper (`backend.sweeper`) deletes it later. So when it is not certain that a
    failed block committed nothing, its blobs are left to the sweeper.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, *digests: str) -> AsyncIterator[None]:
        """Keep blobs from being deleted during the block.

        It looks whether they are there, and writes rows about them.
        """
        async with AsyncExitStack() as stack:
            for digest in sorted(set(digests)):
                await stack.enter_async_context(self._lock(digest))
            yield

    @asynccontextmanager
    async def recorded(self, *uploads: Staged) -> AsyncIterator[None]:
        """Make uploads durable for the block that writes rows about them.

        When the block refuses them, blobs that no row refers to are deleted again.
        """
        digests = sorted({upload.digest for upload in uploads})
        async with self.held(*digests):
            for upload in uploads:
                await asyncio.to_thread(self.blobs.promote, upload)
            async with self._deleted_if_refused(digests):
                yield

    @asynccontextmanager
    async def flushed(self, *uploads: Staged) -> AsyncIterator[None]:
        """Bring uploads to the disk during the block; `recorded` then waits for less.

        Raises:
            BlobError: the disk refuses them.
        """
        flushing = [
            asyncio.ensure_future(asyncio.to_thread(self.blobs.flush, upload)) for upload in uploads
        ]
        try:
            yield
        finally:
            if flushing:
                await asyncio.wait(flushing)
        for each in flushing:
            # A disk tells of an error once: were it passed over here, `recorded` would see none.
            each.result()

    @asynccontextmanager
    async def written(self, digest: str) -> AsyncIterator[None]:
        """Keep a blob that compute wrote for the block that writes its row; as `recorded`.

        Raises:
            BlobStoreUnavailable: it is gone; have it written again.
        """
        async with self.held(digest):
            if not await asyncio.to_thread(self.blobs.exists, digest):
                message = f"Blob {digest} was deleted before its row was written."
                raise BlobStoreUnavailable(message)
            async with self._deleted_if_refused([digest]):
                yield

    async def drop(self, digests: Iterable[str]) -> None:
        """Delete those of the blobs that no row refers to any more."""
        await self.delete_orphans(digests)

    async def delete_orphans(self, digests: Iterable[str]) -> int:
        """How many of the blobs no row referred to; they are gone now."""
        wanted = sorted(set(digests))
        deleted = 0
        for start in range(0, len(wanted), DELETED_AT_ONCE):
            some = wanted[start : start + DELETED_AT_ONCE]
            async with self.held(*some):
                orphans = set(some) - await referenced(some)
                for digest in orphans:
                    await asyncio.to_thread(self.blobs.delete, digest)
            deleted += len(orphans)
        return deleted

    @asynccontextmanager
    async def _deleted_if_refused(self, digests: Sequence[str]) -> AsyncIterator[None]:
        """Delete blobs without a row when the block fails and is certain to have written none.

        These errors are raised inside its transaction, once it holds the row that guards it. Others
        may come of a connection that broke: that of the COMMIT, or of an earlier one of the same
        upload, which the database may still be working on.
        """
        try:
            yield
        except (StarlingError, DatabaseFull):
            for digest in digests:
                try:
                    await self._delete_unreferenced(digest)
                except (DatabaseUnavailable, BlobError) as error:
                    logger.warning("blob %s is left to the sweeper: %s", digest, error)
            raise

    def _lock(self, digest: str) -> asyncio.Lock:
        return self._locks.setdefault(digest, asyncio.Lock())

    async def _delete_unreferenced(self, digest: str) -> bool:
        if await referenced([digest]):
            return False
        await asyncio.to_thread(self.blobs.delete, digest)
        return True


async def referenced(digests: Sequence[str]) -> set[str]:
    """Those of the blobs that some row needs; one query per table."""
    of_models = (
        GlobalModel.digest,
        GlobalModel.preprocessing_digest,
        GlobalModel.swag_first_digest,
        GlobalModel.swag_second_digest,
    )
    of_moments = (LocalMoments.first_digest, LocalMoments.second_digest)
    wanted = list(digests)
    rows: list[dict[str, object]] = []
    rows += await GlobalModel.select(*of_models).where(
        of_models[0].is_in(wanted)
        | of_models[1].is_in(wanted)
        | of_models[2].is_in(wanted)
        | of_models[3].is_in(wanted)
    )
    rows += await ModelVersion.select(ModelVersion.digest).where(
        ModelVersion.digest.is_in(wanted) & ModelVersion.kept.eq(True)
    )
    rows += await LocalModel.select(LocalModel.digest).where(
        LocalModel.digest.is_in(wanted) & LocalModel.kept.eq(True)
    )
    rows += await LocalMoments.select(*of_moments).where(
        (of_moments[0].is_in(wanted) | of_moments[1].is_in(wanted)) & LocalMoments.kept.eq(True)
    )
    found = {str(value) for row in rows for value in row.values() if value is not None}
    return found & set(wanted)
