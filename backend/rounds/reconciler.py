"""Compares what is with what should be, at start and every few seconds."""

import asyncio
import logging

from backend.rounds.aggregation import Aggregation
from compute.gateway import ComputeGateway, ComputeUnavailable

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 3.0


async def reconcile_forever(aggregation: Aggregation, gateway: ComputeGateway) -> None:
    """Order again whatever died half-way, until cancelled."""
    while True:
        try:
            if (await gateway.health()).ready:
                await aggregation.resume()
        except ComputeUnavailable as error:
            logger.info("nothing is reconciled while compute is away: %s", error)
        except Exception:
            # Nobody else would start this loop again; the next pass may find things mended.
            logger.exception("reconciliation failed")
        await asyncio.sleep(INTERVAL_SECONDS)
