"""Compares what is with what should be, at start and every few seconds."""

import asyncio
import logging
from datetime import UTC, datetime

from backend.errors import OUTAGES
from backend.rounds.aggregation import Aggregation
from backend.rounds.coordinator import Coordinator
from compute.gateway import ComputeGateway

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 3.0


class Reconciler:
    """Orders again whatever died half-way, and handles deadlines."""

    def __init__(
        self, *, coordinator: Coordinator, aggregation: Aggregation, gateway: ComputeGateway
    ) -> None:
        self._coordinator = coordinator
        self._aggregation = aggregation
        self._gateway = gateway
        self._could_deliver = False

    async def run(self) -> None:
        """Reconcile until cancelled."""
        while True:
            pause = INTERVAL_SECONDS
            try:
                pause = await self._reconcile()
            except OUTAGES as error:
                # Nobody can deliver without database and blobs either.
                self._could_deliver = False
                logger.warning("nothing is reconciled at the moment: %s", error)
            except Exception:
                # Nobody else would start this loop again; the next pass may find things mended.
                logger.exception("reconciliation failed")
            await asyncio.sleep(pause)

    async def _reconcile(self) -> float:
        """One pass; seconds until the next one is due."""
        if not (await self._gateway.health()).ready:
            # Nobody can deliver, for updates are checked in compute: no deadline counts meanwhile.
            self._could_deliver = False
            return INTERVAL_SECONDS
        if not self._could_deliver:
            await self._coordinator.grant_grace()
            self._could_deliver = True
        await self._aggregation.resume()
        next_deadline = await self._coordinator.close_due()
        if next_deadline is None:
            return INTERVAL_SECONDS
        left = (next_deadline - datetime.now(UTC)).total_seconds()
        return min(max(left, 0.0), INTERVAL_SECONDS)
