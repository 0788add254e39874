"""Shares a bounded number of predictors so that no model keeps another one waiting for long.

Requests for one model take turns, so a model holds at most one predictor at any time, however many
ask for it and whatever it does. Requests for different models run side by side, each in a predictor
of its own, preferably one that has the model loaded.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Worker = TypeVar("_Worker")


class PoolBusy(Exception):
    """No predictor came free in time."""


@dataclass(eq=False)
class Seat(Generic[_Worker]):
    """One predictor, and for which models it was used.

    Attributes:
        broken: Set by its user: it is ended instead of being used again.
        doubtful: Others died: it is looked at before it is used again.
        last: The model that it is used for, or was last.
    """

    worker: _Worker
    broken: bool = False
    doubtful: bool = False
    served: set[Hashable] = field(default_factory=set)
    last: Hashable | None = None


@dataclass
class _Turns:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: int = 0


async def _believed(_: object) -> bool:
    return True


class PredictorPool(Generic[_Worker]):
    """Makes predictors when all are busy, up to `limit`; used from one event loop.

    Args:
        make: Gives a predictor that is ready to work.
        end: Ends one, whatever it is doing.
        is_alive: Whether an idle one still answers; asked after another one died.
    """

    def __init__(
        self,
        limit: int,
        make: Callable[[], Awaitable[_Worker]],
        end: Callable[[_Worker], Awaitable[None]],
        is_alive: Callable[[_Worker], Awaitable[bool]] = _believed,
    ) -> None:
        self._make = make
        self._end = end
        self._is_alive = is_alive
        self._idle: list[Seat[_Worker]] = []  # used least recently first
        self._in_use: list[Seat[_Worker]] = []
        # One for each predictor that is busy or in the making, first come, first served.
        self._permits = asyncio.Semaphore(limit)
        self._turns: dict[Hashable, _Turns] = {}
        self._warming: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def seat(self, key: Hashable, wait_seconds: float) -> AsyncIterator[Seat[_Worker]]:
        """A predictor to use for the model `key` until the end of the context.

        Raises:
            PoolBusy: it is not this request's turn within `wait_seconds`; making a predictor does
                not count.
        """
        deadline = asyncio.get_running_loop().time() + wait_seconds
        async with self._turn(key, deadline):
            await _before(deadline, self._permits.acquire())
            try:
                seat = await self._idle_one(key) or Seat(await self._make())
                seat.last = key
                self._in_use.append(seat)
                try:
                    yield seat
                finally:
                    self._in_use.remove(seat)
                    seat.served.add(key)
                    await asyncio.shield(self._give_back(seat))
            finally:
                self._permits.release()

    def seats(self) -> list[Seat[_Worker]]:
        """Of every predictor that is there, idle or not."""
        return [*self._in_use, *self._idle]

    async def warm(self) -> None:
        """Make a predictor for whoever asks next, unless one is idle or there may be no more.

        Raises what `make` raises; who waits for it then makes one.
        """
        if self._warming is None and not self._idle and not self._permits.locked():
            # Free, so taken at once: who waits for the new one must never hold the last permit.
            await self._permits.acquire()
            self._warming = asyncio.create_task(self._warm())
            try:
                await asyncio.shield(self._warming)
            finally:
                self._warming = None

    def doubt_idle(self) -> None:
        """Have the idle predictors looked at before they are used again."""
        for seat in self._idle:
            seat.doubtful = True

    async def _warm(self) -> None:
        try:
            self._idle.append(Seat(await self._make()))
        finally:
            self._permits.release()

    async def _idle_one(self, key: Hashable) -> Seat[_Worker] | None:
        if not self._idle and self._warming is not None:
            await asyncio.wait([self._warming])
        while self._idle:
            seat = next((idle for idle in self._idle if key in idle.served), self._idle[0])
            self._idle.remove(seat)
            if not seat.doubtful or await self._is_alive(seat.worker):
                seat.doubtful = False
                return seat
            await self._end(seat.worker)
        return None

    @contextlib.asynccontextmanager
    async def _turn(self, key: Hashable, deadline: float) -> AsyncIterator[None]:
        turns = self._turns.setdefault(key, _Turns())
        turns.asking += 1
        try:
            await _before(deadline, turns.lock.acquire())
            try:
                yield
            finally:
                turns.lock.release()
        finally:
            turns.asking -= 1
            if not turns.asking:
                del self._turns[key]

    async def _give_back(self, seat: Seat[_Worker]) -> None:
        if seat.broken:
            await self._end(seat.worker)
        else:
            self._idle.append(seat)


async def _before(deadline: float, awaitable: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await awaitable
    except TimeoutError as error:
        message = "All predictors are busy."
        raise PoolBusy(message) from error
