"""Sends predictions to predictors: those for one model that wait together go together.

A prediction whose model nobody else asks is sent at once. What comes while the model's predictor
works is sent when it is done, as many at a time as it does in a quarter of a second: so nobody
waits for a batch to fill, and a slow model's requests stay apart. When a batch ends its process,
everyone in it is tried again alone, so that nobody is refused for what a neighbour sent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from compute.actors import Failure, Refusal
from compute.contract import Predict, Prediction, Rejected, RejectionReason
from compute.gateway import ComputeUnavailable
from compute.gateway_outcomes import unpacked
from compute.predictor_pool import PoolBusy, PredictorPool, Seat

logger = logging.getLogger(__name__)

# How often a prediction's process may die before its model is to blame: processes are also ended
# from outside.
ATTEMPTS = 3
# Ray may hand work to workers that were killed a moment ago; after this it knows better.
PAUSE_AFTER_CRASH_SECONDS = 0.5
# How long a prediction waits for its turn: a few time limits, and processes that come up.
PATIENCE_SECONDS = 150.0
BATCH_SECONDS = 0.25
MOST_IN_BATCH = 64

Outcome = Prediction | Refusal | Failure

_Worker = TypeVar("_Worker")


class PredictorDied(Exception):
    """The process that predicted ended, for whatever reason, before its time."""


@dataclass(eq=False)
class _Waiting:
    """A prediction and who waits for it.

    Attributes:
        deadline: When its turn must have come, on the loop's clock.
        deaths: How many processes ended while they were at it.
        suspect: It was in a batch that ended its process, and goes alone.
    """

    order: Predict
    deadline: float
    answer: asyncio.Future[Prediction]
    deaths: int = 0
    suspect: bool = False


class PredictionQueues(Generic[_Worker]):
    """One queue for each model that is asked; used from one event loop.

    Args:
        pool: Of predictors that `send` reaches.
        send: Has a predictor work on some orders, and gives as many outcomes. Raises `Rejected`
            when they took more than they may, which ended it; `PredictorDied`;
            `ComputeUnavailable`.
        keep_warm: Sees to it that a predictor is ready; called when one may be missing.
    """

    def __init__(
        self,
        pool: PredictorPool[_Worker],
        send: Callable[[_Worker, list[Predict]], Awaitable[Sequence[Outcome]]],
        keep_warm: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._send = send
        self._keep_warm = keep_warm
        self._queues: dict[Hashable, _Queue] = {}
        self._work: set[asyncio.Task[None]] = set()

    def warm(self) -> None:
        """Have a predictor ready before the first prediction."""
        self._keep_warm()

    def serving(self) -> list[tuple[_Worker, str | None]]:
        """Each predictor, and the blob of the model that it was last used for."""
        return [
            (seat.worker, str(seat.last[0]) if isinstance(seat.last, tuple) else None)
            for seat in self._pool.seats()
        ]

    async def predict(self, order: Predict) -> Prediction:
        """The prediction.

        Raises:
            Rejected: the model cannot do it, or ended its process again and again.
            ComputeUnavailable: no predictor is to be had now.
        """
        model = (*order.model_keys, order.preprocessing_key)
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = _Queue()
            # A task of its own: it goes on when who asked first went away.
            task = asyncio.create_task(self._serve(model, queue))
            self._work.add(task)
            task.add_done_callback(self._work.discard)
        return await queue.add(order)

    async def _serve(self, model: Hashable, queue: "_Queue") -> None:
        """Answer what is in the queue and comes meanwhile, and end."""
        try:
            while queue.is_waited_for():
                broken = died = False
                try:
                    async with self._pool.seat(model, queue.patience_seconds()) as seat:
                        died = await self._answer(queue, seat, queue.take())
                        broken = seat.broken
                except PoolBusy:
                    continue  # who waited for it has waited long enough
                if broken:
                    self._keep_warm()
                if died:
                    logger.warning("The predictor that predicted with %s died", model)
                    self._pool.doubt_idle()
                    await asyncio.sleep(PAUSE_AFTER_CRASH_SECONDS)
        except Exception as error:  # noqa: BLE001 - raised again in everyone who waits
            queue.fail_all(error)
        finally:
            del self._queues[model]
            queue.cancel_all()

    async def _answer(
        self, queue: "_Queue", seat: Seat[_Worker], batch: "Sequence[_Waiting]"
    ) -> bool:
        """Have the batch predicted; gives whether the predictor died over it."""
        if not batch:
            return False
        seat.broken = True
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            outcomes = await self._send(seat.worker, [waiting.order for waiting in batch])
        except PredictorDied:
            queue.take_back(batch)
            return True
        except Rejected as rejected:
            if len(batch) == 1:
                _fail(batch[0], rejected)
            else:
                queue.set_apart(batch)
            return False
        except Exception as error:  # noqa: BLE001 - raised again in everyone who waits
            for waiting in batch:
                _fail(waiting, error)
            return False
        queue.observe(clock() - started, len(batch))
        # A process that ran into its memory limit does not serve others.
        seat.broken = any(
            isinstance(outcome, Refusal) and outcome.reason is RejectionReason.TOO_LARGE
            for outcome in outcomes
        )
        for waiting, outcome in zip(batch, outcomes, strict=True):
            _settle(waiting, outcome)
        return False


class _Queue:
    """What waits for one model, in order."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._at_once = 1  # until it is known how long the model takes

    def add(self, order: Predict) -> asyncio.Future[Prediction]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(order, loop.time() + PATIENCE_SECONDS, loop.create_future())
        self._waiting.append(waiting)
        return waiting.answer

    def is_waited_for(self) -> bool:
        """Whether there is anything in it; forgets who went away or has waited long enough."""
        now = asyncio.get_running_loop().time()
        for waiting in self._waiting:
            if waiting.deadline <= now:
                _fail(waiting, ComputeUnavailable("All predictors are busy."))
        self._waiting = deque(one for one in self._waiting if not one.answer.done())
        return bool(self._waiting)

    def patience_seconds(self) -> float:
        """How long the first can still wait for a predictor."""
        return max(0.0, self._waiting[0].deadline - asyncio.get_running_loop().time())

    def take(self) -> list[_Waiting]:
        """What goes to the predictor next."""
        taken: list[_Waiting] = []
        while self._waiting and len(taken) < self._at_once:
            if self._waiting[0].suspect and taken:
                break
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            taken.append(waiting)
            if waiting.suspect:
                break
        return taken

    def observe(self, seconds: float, count: int) -> None:
        """So many were answered in that time."""
        affordable = BATCH_SECONDS * count / max(seconds, 1e-6)
        self._at_once = max(1, min(MOST_IN_BATCH, int(affordable)))

    def take_back(self, batch: Sequence[_Waiting]) -> None:
        """Their process died: they are tried again alone, or have been often enough."""
        for waiting in batch:
            waiting.deaths += 1
            if waiting.deaths >= ATTEMPTS:
                _fail(
                    waiting,
                    Rejected(
                        RejectionReason.TOO_LARGE,
                        "Predicting with this model ended its process, repeatedly; it may take "
                        "more memory than there is.",
                    ),
                )
        self.set_apart([waiting for waiting in batch if not waiting.answer.done()])

    def set_apart(self, batch: Sequence[_Waiting]) -> None:
        """Each of them is next, alone."""
        for waiting in reversed(batch):
            waiting.suspect = True
            self._waiting.appendleft(waiting)

    def fail_all(self, error: Exception) -> None:
        for waiting in self._waiting:
            _fail(waiting, error)

    def cancel_all(self) -> None:
        for waiting in self._waiting:
            waiting.answer.cancel()


def _settle(waiting: _Waiting, outcome: Outcome) -> None:
    # Who asked may have gone away.
    if waiting.answer.done():
        return
    try:
        waiting.answer.set_result(unpacked(outcome))
    except (Rejected, ComputeUnavailable) as error:
        waiting.answer.set_exception(error)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
