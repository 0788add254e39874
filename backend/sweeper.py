"""Deletes what is over, and what crashes and broken connections left, above all orphaned blobs.

A blob is written before its row, so a crash between the two, or a COMMIT whose outcome was not
learnt, leaves a blob alone; so does one between marking weights as deleted and deleting them.
"""

import asyncio
import itertools
import logging

from backend.db.tables import GlobalModel
from backend.errors import OUTAGES
from backend.security.sessions import Sessions
from backend.uploads.service import PartialUploads
from backend.weights import Weights, referenced

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 3600.0
STALE_UPLOAD_SECONDS = 24 * 3600.0
BATCH = 500


async def sweep_forever(
    weights: Weights,
    partial_uploads: PartialUploads,
    sessions: Sessions,
    *,
    grace_seconds: float,
) -> None:
    """Sweep at once and every hour, until cancelled."""
    while True:
        try:
            if expired := await partial_uploads.sweep():
                logger.info("deleted %d uploads whose time was over", expired)
            if over := await sessions.sweep():
                logger.debug("forgot %d sessions that were over", over)
            await sweep(weights, grace_seconds=grace_seconds)
        except OUTAGES as error:
            logger.warning("orphans are swept later: %s", error)
        except Exception:
            # Nobody else would start this loop again; the next pass may find things mended.
            logger.exception("the sweep for orphans failed")
        await asyncio.sleep(INTERVAL_SECONDS)


async def sweep(weights: Weights, *, grace_seconds: float) -> int:
    """Delete orphaned blobs, and uploads that were cut off a day ago; the number of orphans.

    Args:
        grace_seconds: Younger blobs are left alone: compute may be about to report them.
    """
    cut_off = await asyncio.to_thread(
        weights.blobs.sweep_staged, older_than_seconds=STALE_UPLOAD_SECONDS
    )
    if cut_off:
        logger.info("deleted %d uploads that were cut off", cut_off)
    if not await _is_of_this_database(weights):
        return 0
    deleted = 0
    digests = weights.blobs.digests(older_than_seconds=grace_seconds)
    # A store of any size is looked at batch by batch; what is listed is looked at once more, one
    # by one and locked, before it goes.
    while batch := await asyncio.to_thread(list, itertools.islice(digests, BATCH)):
        deleted += await weights.delete_orphans(set(batch) - await referenced(batch))
    if deleted:
        logger.info("deleted %d blobs that no row refers to", deleted)
    return deleted


async def _is_of_this_database(weights: Weights) -> bool:
    """Whether the store holds the weights of the newest model.

    An operator's slip, an empty or another database beside the blobs of a real one, must not cost
    all of them.
    """
    newest = (
        await GlobalModel.select(GlobalModel.digest)
        .order_by(GlobalModel.created_at, ascending=False)
        .first()
    )
    if newest is None:
        return False
    there = await asyncio.to_thread(weights.blobs.exists, newest["digest"])
    if not there:
        logger.warning(
            "the blob store lacks the weights of the newest model, as if it belonged to another "
            "database: no orphans are looked for"
        )
    return there
