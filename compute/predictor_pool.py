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
    """

    worker: _Worker
    broken: bool = False
    served: set[Hashable] = field(default_factory=set)


@dataclass
class _Turns:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: int = 0


class PredictorPool(Generic[_Worker]):
    """Makes predictors when all are busy, up to `limit`; used from one event loop.

    Args:
        make: Gives a predictor that is ready to work.
        end: Ends one, whatever it is doing.
    """

    def __init__(
        self,
        limit: int,
        make: Callable[[], Awaitable[_Worker]],
        end: Callable[[_Worker], Awaitable[None]],
    ) -> None:
        self._limit = limit
        self._make = make
        self._end = end
        self._idle: list[Seat[_Worker]] = []  # used least recently first
        self._seats = 0  # idle, busy and in the making
        self._freed = asyncio.Condition()
        self._turns: dict[Hashable, _Turns] = {}

    @contextlib.asynccontextmanager
    async def seat(self, key: Hashable, wait_seconds: float) -> AsyncIterator[Seat[_Worker]]:
        """A predictor to use for the model `key` until the end of the context.

        Raises:
            PoolBusy: it is not this request's turn within `wait_seconds`; making a predictor does
                not count.
        """
        deadline = asyncio.get_running_loop().time() + wait_seconds
        async with self._turn(key, deadline):
            seat = await self._taken(key, deadline)
            try:
                yield seat
            finally:
                seat.served.add(key)
                await asyncio.shield(self._give_back(seat))

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

    async def _taken(self, key: Hashable, deadline: float) -> Seat[_Worker]:
        async with self._freed:
            await _before(deadline, self._freed.wait_for(self._has_room))
            if self._idle:
                seat = next((idle for idle in self._idle if key in idle.served), self._idle[0])
                self._idle.remove(seat)
                return seat
            self._seats += 1
        try:
            return Seat(await self._make())
        except BaseException:
            await asyncio.shield(self._vacate())
            raise

    def _has_room(self) -> bool:
        return bool(self._idle) or self._seats < self._limit

    async def _give_back(self, seat: Seat[_Worker]) -> None:
        if seat.broken:
            try:
                await self._end(seat.worker)
            finally:
                await self._vacate()
            return
        async with self._freed:
            self._idle.append(seat)
            self._freed.notify()

    async def _vacate(self) -> None:
        async with self._freed:
            self._seats -= 1
            self._freed.notify()


async def _before(deadline: float, awaitable: Awaitable[object]) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await awaitable
    except TimeoutError as error:
        message = "All predictors are busy."
        raise PoolBusy(message) from error
