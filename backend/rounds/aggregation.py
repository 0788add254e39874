"""What the backend orders from the aggregators: fold, finish, let go."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from uuid import UUID

from backend.db.tables import LocalModel, Round, Training
from backend.errors import log_failure
from backend.rounds.orders import Order, is_running, waiting_order
from backend.rounds.records import base_key, options_of, strategy_of
from backend.rounds.state import Phase
from compute.contract import (
    AggregationOptions,
    AggregatorSpec,
    CallbackTarget,
    FinishMoments,
    FinishRound,
    UpdateRef,
)
from compute.gateway import ComputeGateway, ComputeUnavailable

logger = logging.getLogger(__name__)

WAITS_FOR_COMPUTE = [Phase.AGGREGATING.value, Phase.AGGREGATING_MOMENTS.value]


# Enough for the aggregator always to have one, while the answers travel.
FOLDED_AHEAD_AT_ONCE = 8


@dataclass(eq=False)
class _Ahead:
    """Updates of a training that are folded before their round is complete, oldest first."""

    waiting: deque[LocalModel] = field(default_factory=deque)
    under_way: int = 0


class Aggregation:
    """Orders are made from the database alone, so any of them can be made again after a crash."""

    def __init__(self, *, gateway: ComputeGateway, blob_url: str, callback: CallbackTarget) -> None:
        self._gateway = gateway
        self._blob_url = blob_url
        self._callback = callback
        self._finishing: dict[UUID, asyncio.Task[None]] = {}
        self._finish_again: set[UUID] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._ahead: dict[UUID, _Ahead] = {}

    async def resume(self) -> None:
        """Order every aggregation that should be under way and is not."""
        rows = await Round.select(Round.training).where(Round.phase.is_in(WAITS_FOR_COMPUTE))
        for row in rows:
            self.finish(row["training"])

    def finish(self, training_id: UUID, known: tuple[Training, Order] | None = None) -> None:
        """Have the training's closed collection aggregated, unless that is under way.

        Args:
            known: The training and what is to be made, by who has just closed the collection; else
                it is read.
        """
        # What was not folded ahead is listed in the order, and folded together.
        self._ahead.pop(training_id, None)
        if training_id in self._finishing:
            # The next collection may be complete before the last order is answered.
            self._finish_again.add(training_id)
            return
        task = asyncio.create_task(self._finish(training_id, known))
        self._finishing[training_id] = task
        task.add_done_callback(lambda done: self._finished(training_id, done))

    def fold_ahead(self, training: Training, update: LocalModel) -> None:
        """Have an accepted update folded before the round is complete.

        Some at a time: the end of the round is to wait for no queue in the aggregator.
        """
        ahead = self._ahead.setdefault(training.id, _Ahead())
        ahead.waiting.append(update)
        if ahead.under_way < FOLDED_AHEAD_AT_ONCE:
            ahead.under_way += 1
            self.spawn(self._fold_waiting(training, ahead))

    def release(self, training_id: UUID) -> None:
        """Let go of the aggregator of a training that needs none any more."""
        self.spawn(self._release(training_id))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do something that nobody waits for; a failure is logged."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._settled)

    async def stop(self) -> None:
        """Leave what is under way to the next start."""
        tasks = [*self._finishing.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _finish(self, training_id: UUID, known: tuple[Training, Order] | None) -> None:
        known = known or await waiting_order(training_id)
        if known is None:
            return
        training, order = known
        try:
            match order:
                case FinishRound():
                    await self._gateway.finish_round(self._spec(training), order)
                case FinishMoments():
                    await self._gateway.finish_moments(self._spec(training), order)
        except ComputeUnavailable as error:
            logger.warning("training %s is to be aggregated again: %s", training_id, error)
        if not await is_running(training_id):
            # It ended between the commit that closed the collection and the order.
            self.release(training_id)

    def _finished(self, training_id: UUID, task: asyncio.Task[None]) -> None:
        del self._finishing[training_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(logger, f"aggregation of training {training_id} stopped", error)
        if training_id in self._finish_again and not task.cancelled():
            self._finish_again.discard(training_id)
            self.finish(training_id)

    async def _fold_waiting(self, training: Training, ahead: _Ahead) -> None:
        try:
            while ahead.waiting and self._ahead.get(training.id) is ahead:
                await self._fold(training, ahead.waiting.popleft())
        finally:
            ahead.under_way -= 1
            # The next round may have begun to fold meanwhile.
            if not ahead.under_way and self._ahead.get(training.id) is ahead:
                del self._ahead[training.id]

    async def _fold(self, training: Training, update: LocalModel) -> None:
        key = await base_key(training.model, update.round)
        if not await Training.exists().where(
            (Training.id == training.id) & (Training.round == update.round)
        ):
            return  # over meanwhile: an aggregator made now would never be released
        try:
            await self._gateway.fold(self._spec(training), update.round, key, _update_ref(update))
        except ComputeUnavailable as error:
            # Folding ahead only saves time: `finish_round` folds whatever is missing.
            logger.info("update %s is folded later: %s", update.id, error)

    async def _release(self, training_id: UUID) -> None:
        finishing = self._finishing.get(training_id)
        if finishing is not None:
            # Its aggregator is about to hear that the callback was taken.
            await asyncio.wait([finishing])
        try:
            await self._gateway.release(str(training_id))
        except ComputeUnavailable as error:
            logger.info("the aggregator of %s is gone already: %s", training_id, error)

    def _spec(self, training: Training) -> AggregatorSpec:
        return AggregatorSpec(
            training_id=str(training.id),
            strategy=strategy_of(training),
            blob_url=self._blob_url,
            callback=self._callback,
            options=AggregationOptions(accumulate=options_of(training).accumulate),
        )

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_failure(logger, "background work failed", error)


def _update_ref(update: LocalModel) -> UpdateRef:
    return UpdateRef(update_id=str(update.id), digest=update.digest, sample_size=update.sample_size)
