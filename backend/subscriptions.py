"""Subscriptions in memory to what is appended to a table, and the loop that feeds them.

Who waits holds no database connection and asks nothing: one reader for all looks at the table when
it is woken, and every few seconds so that nothing depends on that.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from backend.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

RESCAN_SECONDS = 2.0
# A subscriber that does not take what comes reads it from the database when it does.
MAX_ARRIVED = 100


class Numbered(Protocol):
    """Something with an id, which are given in the order of commits."""

    @property
    def id(self) -> int: ...


ItemT = TypeVar("ItemT", bound=Numbered)


class Subscription(Generic[ItemT]):
    """What one subscriber has not been given yet.

    Args:
        after: Give what has a higher id.
        backlog: Reads what is there above an id, oldest first; not necessarily all of it. Whatever
            it leaves out, and whatever is committed later, MUST arrive.

    Attributes:
        after: Id of the item given last, or what it started from.
        ended: Nothing will come any more.
    """

    def __init__(
        self, after: int, backlog: Callable[[int], Awaitable[Sequence[ItemT] | None]]
    ) -> None:
        self.after = after
        self.ended = False
        self._backlog = backlog
        self._arrived: list[ItemT] = []
        self._changed = asyncio.Event()
        # There may be some above `after` that never arrived here.
        self._has_backlog = True
        self._overflowed = False

    async def next(self, *, limit: int, wait_seconds: float) -> list[ItemT]:
        """What comes next, in order; empty when nothing came in time or the subscription ended.

        What it raises, the database did; asked again, it goes on where it was.
        """
        items = await self._available()
        if not items and wait_seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()
            items = await self._available()
        given = items[:limit]
        if given:
            self._has_backlog |= len(given) < len(items)
            self.after = given[-1].id
        return given

    def arrive(self, items: Sequence[ItemT]) -> None:
        """These were committed since the subscription was made."""
        self._arrived.extend(items)
        if len(self._arrived) > MAX_ARRIVED:
            self._arrived.clear()
            self._has_backlog = self._overflowed = True
        self._changed.set()

    def end(self) -> None:
        """Give nothing any more; who waits is answered at once."""
        self.ended = True
        self._changed.set()

    async def _available(self) -> list[ItemT]:
        if self.ended:
            return []
        self._changed.clear()
        while self._has_backlog:
            self._overflowed = False
            if items := await self._backlog(self.after):
                return list(items)
            self._has_backlog = self._overflowed
        arrived, self._arrived = self._arrived, []
        # What arrived while the backlog was read may have been given with it.
        return [item for item in arrived if item.id > self.after]


async def look_forever(look: Callable[[], Awaitable[None]], woken: asyncio.Event) -> None:
    """Look when woken, and every few seconds, until cancelled; a failure only delays."""
    while True:
        woken.clear()
        try:
            await look()
        except DatabaseUnavailable as error:
            logger.warning("news cannot be read: %s", error)
        except Exception:
            # Nobody else would start this loop again.
            logger.exception("news were not handed on")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RESCAN_SECONDS):
                await woken.wait()
