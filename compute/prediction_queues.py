"""Sends predictions to predictors: those for one model that wait together go together.

A prediction whose model nobody else asks is sent at once, and to a quick model also while very few
others are on their way: what waits for the predictor need not wait for their ways, too. What comes
to a busier one is sent when it is done, as many at a time as it does in a quarter of a second: so
nobody waits for a batch to fill, and a slow model's requests stay apart. When a batch ends its
process, everyone in it is tried again alone, so that nobody is refused for what a neighbour sent.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar, cast

from compute.actors import Failure, Refusal
from compute.contract import Predict, Prediction, Rejected, RejectionReason
from compute.gateway import ComputeUnavailable
from compute.gateway_outcomes import unpacked
from compute.predictor_pool import PoolBusy, PredictorPool

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
# So many are under way to one predictor before batches form, if it answers within so long: the way
# there and back takes longer than a small model.
MOST_UNDER_WAY = 3
QUICK_SECONDS = 0.05
MOST_REMEMBERED = 1024

Outcome = Prediction | Refusal | Failure

_Worker = TypeVar("_Worker")


class PredictorDied(Exception):
    """The process that predicted ended, for whatever reason, before its time."""


class _End(Enum):
    """How it ended for the predictor that a batch was sent to."""

    FINE = auto()
    UNFIT = auto()  # for others
    DIED = auto()


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
        self._quick: dict[Hashable, None] = {}  # the one that was asked last comes last
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
            queue = self._queues[model] = _Queue(is_quick=model in self._quick)
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
                        # Until all that was sent has come back.
                        seat.broken = True
                        ends = await self._turn(queue, seat.worker)
                        died = _End.DIED in ends
                        broken = seat.broken = ends != {_End.FINE}
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
            self._quick.pop(model, None)
            if queue.is_quick:
                self._quick[model] = None
                if len(self._quick) > MOST_REMEMBERED:
                    del self._quick[next(iter(self._quick))]

    async def _turn(self, queue: "_Queue", worker: _Worker) -> set[_End]:
        """Have the predictor answer what waits and, for a quarter of a second, what comes."""
        clock = asyncio.get_running_loop().time
        until = clock() + BATCH_SECONDS
        under_way: dict[asyncio.Task[_End], int] = {}
        ends = {_End.FINE}
        try:
            while True:
                count = sum(under_way.values())
                may_join = count < MOST_UNDER_WAY and ends == {_End.FINE} and clock() < until
                batch = queue.take(count) if may_join or not under_way else []
                if batch:
                    answered = self._answer(queue, worker, batch, joins=bool(under_way))
                    sent = asyncio.create_task(answered)
                    # Nobody joins who is tried alone.
                    under_way[sent] = MOST_UNDER_WAY if batch[0].suspect else len(batch)
                elif under_way:
                    # What comes while a whole batch is at it wakes nobody: it could not join.
                    arrival = {queue.arrival()} if may_join else set()
                    news = cast("set[asyncio.Future[object]]", {*under_way, *arrival})
                    done, _ = await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
                    for task in under_way.keys() & done:
                        del under_way[task]
                        ends.add(task.result())
                if not under_way:
                    return ends
        finally:
            for task in under_way:
                task.cancel()

    async def _answer(
        self, queue: "_Queue", worker: _Worker, batch: Sequence[_Waiting], *, joins: bool
    ) -> _End:
        """Have the batch predicted, and tell everyone in it.

        Args:
            joins: Others are on their way before it: what ends the process may be their doing.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            outcomes = await self._send(worker, [waiting.order for waiting in batch])
        except PredictorDied:
            queue.is_quick = False
            queue.take_back(batch)
            return _End.DIED
        except Rejected as rejected:
            queue.is_quick = False
            if len(batch) == 1 and not joins:
                _fail(batch[0], rejected)
            else:
                queue.set_apart(batch)
            return _End.UNFIT
        except Exception as error:  # noqa: BLE001 - raised again in everyone who waits
            for waiting in batch:
                _fail(waiting, error)
            return _End.UNFIT
        queue.observe(clock() - started, len(batch))
        for waiting, outcome in zip(batch, outcomes, strict=True):
            _settle(waiting, outcome)
        # A process that ran into its memory limit is sent nothing more.
        unfit = any(
            isinstance(outcome, Refusal) and outcome.reason is RejectionReason.TOO_LARGE
            for outcome in outcomes
        )
        return _End.UNFIT if unfit else _End.FINE


class _Queue:
    """What waits for one model, in order.

    Attributes:
        is_quick: The model answered within `QUICK_SECONDS`, the last time.
    """

    def __init__(self, *, is_quick: bool) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._at_once = 1  # until it is known how long the model takes
        self.is_quick = is_quick
        self._arrival: asyncio.Future[None] | None = None

    def add(self, order: Predict) -> asyncio.Future[Prediction]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(order, loop.time() + PATIENCE_SECONDS, loop.create_future())
        self._waiting.append(waiting)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        return waiting.answer

    def arrival(self) -> asyncio.Future[None]:
        """Done when something comes from now on."""
        if self._arrival is None or self._arrival.done():
            self._arrival = asyncio.get_running_loop().create_future()
        return self._arrival

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

    def take(self, under_way: int) -> list[_Waiting]:
        """What goes to the predictor next, while so many are on their way to it."""
        taken: list[_Waiting] = []
        if under_way and not (
            self.is_quick
            and under_way + len(self._waiting) <= MOST_UNDER_WAY
            and not any(waiting.suspect for waiting in self._waiting)
        ):
            return taken
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
        self.is_quick = seconds < QUICK_SECONDS
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
