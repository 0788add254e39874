"""The feed: what a user was told, in order, for whoever asks or waits for it.

One reader looks at the outbox for everybody who waits: when it is woken, and every few seconds so
that nothing depends on that. It asks for everything above the highest id it has seen, which is
right because ids are in the order of commits (see `outbox.enqueue`). Who waits holds no database
connection; a database that is away only delays.
"""

import asyncio
import contextlib
import functools
import logging
import operator
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TypedDict, cast
from uuid import UUID

import msgspec
from piccolo.custom_types import Combinable

from backend.db.lookups import Lookups
from backend.db.tables import Notification
from backend.errors import DatabaseUnavailable
from backend.notifications.outbox import FeedItem

logger = logging.getLogger(__name__)

RESCAN_SECONDS = 2.0
ROWS_PER_QUERY = 1000
MAX_ITEMS = 500
# A subscriber that does not take what comes reads it from the database when it does.
MAX_ARRIVED = 100

_Place = tuple[UUID, int]


class _Row(TypedDict):
    id: int
    recipient: UUID
    training: UUID
    type: str
    body: str
    created_at: datetime


class Subscription:
    """What one user has not been given yet; made by `Feed.subscribe`.

    Attributes:
        after: Id of the notification given last, or what it started from.
        ended: Nothing will come any more.
    """

    def __init__(self, user: UUID, after: int, backlogs: Lookups[_Place, list[FeedItem]]) -> None:
        self.after = after
        self.ended = False
        self._user = user
        self._backlogs = backlogs
        self._arrived: list[FeedItem] = []
        self._changed = asyncio.Event()
        # There may be some above `after` that never arrived here.
        self._has_backlog = True
        self._overflowed = False

    async def next(self, *, limit: int, wait_seconds: float) -> list[FeedItem]:
        """What comes next, in order; empty when nothing came in time or the subscription ended.

        What it raises, the database did; asked again, it goes on where it was.

        Args:
            limit: At most so many, up to `MAX_ITEMS`.
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

    def arrive(self, items: Sequence[FeedItem]) -> None:
        """Something was committed for the user since the subscription was made."""
        self._arrived.extend(items)
        if len(self._arrived) > MAX_ARRIVED:
            self._arrived.clear()
            self._has_backlog = self._overflowed = True
        self._changed.set()

    def end(self) -> None:
        """Give nothing any more; who waits is answered at once."""
        self.ended = True
        self._changed.set()

    async def _available(self) -> list[FeedItem]:
        if self.ended:
            return []
        self._changed.clear()
        while self._has_backlog:
            self._overflowed = False
            if items := await self._backlogs.get((self._user, self.after)):
                return items
            self._has_backlog = self._overflowed
        arrived, self._arrived = self._arrived, []
        # What arrived while the backlog was read may have been given with it.
        return [item for item in arrived if item.id > self.after]


class Feed:
    """Hands new notifications to who waits; runs until cancelled."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._subscriptions: defaultdict[UUID, set[Subscription]] = defaultdict(set)
        self._backlogs = Lookups(_read_backlogs)
        self._seen = 0
        self._ended = False

    async def open(self) -> None:
        """Begin at the end of what is there. MUST be called before anybody subscribes."""
        newest = (
            await Notification.select(Notification.id)
            .order_by(Notification.id, ascending=False)
            .first()
        )
        self._seen = 0 if newest is None else newest["id"]

    @contextlib.contextmanager
    def subscribe(self, user: UUID, *, after: int) -> Iterator[Subscription]:
        """A subscription to what `user` is told, from the first id above `after` on."""
        subscription = Subscription(user, after, self._backlogs)
        self._subscriptions[user].add(subscription)
        if self._ended:
            subscription.end()
        try:
            yield subscription
        finally:
            self._subscriptions[user].discard(subscription)
            if not self._subscriptions[user]:
                del self._subscriptions[user]

    def wake(self) -> None:
        """Something was committed to the outbox."""
        self._woken.set()

    def end(self) -> None:
        """Answer everybody who waits, and whoever will come, at once: the server stops."""
        self._ended = True
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.end()

    async def run(self) -> None:
        """Hand on what is new, for ever."""
        while True:
            self._woken.clear()
            try:
                await self._hand_on()
            except DatabaseUnavailable as error:
                logger.warning("news cannot be read: %s", error)
            except Exception:
                # Nobody else would start this loop again.
                logger.exception("news were not handed on")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESCAN_SECONDS):
                    await self._woken.wait()

    async def _hand_on(self) -> None:
        while True:
            rows = await _read(Notification.id > self._seen)
            for user, items in _by_user(rows).items():
                for subscription in self._subscriptions.get(user, ()):
                    subscription.arrive(items)
            if rows:
                self._seen = rows[-1]["id"]
            if len(rows) < ROWS_PER_QUERY:
                return


async def _read_backlogs(places: Collection[_Place]) -> dict[_Place, list[FeedItem]]:
    """For each user and id: the oldest of the user's notifications above it, up to `MAX_ITEMS`."""
    found: dict[_Place, list[FeedItem]] = {}
    missing = list(places)
    while missing:
        conditions: list[Combinable] = [
            (Notification.recipient == user) & (Notification.id > after) for user, after in missing
        ]
        rows = await _read(_any_of(conditions))
        items = _by_user(rows)
        for user, after in missing:
            found[user, after] = [one for one in items[user] if one.id > after][:MAX_ITEMS]
        if len(rows) < ROWS_PER_QUERY:
            break
        # Somebody's many hid what others have; who has got some asks for the rest later.
        missing = [place for place in missing if not found[place]]
    return found


def _any_of(conditions: Sequence[Combinable]) -> Combinable:
    """One condition, in pairs of pairs: SQLite refuses to parse a hundred nested ones."""
    while len(conditions) > 1:
        conditions = [
            functools.reduce(operator.or_, conditions[k : k + 2])
            for k in range(0, len(conditions), 2)
        ]
    return conditions[0]


async def _read(condition: Combinable) -> list[_Row]:
    rows = (
        await Notification.select(
            Notification.id,
            Notification.recipient,
            Notification.training,
            Notification.type,
            Notification.body,
            Notification.created_at,
        )
        .where(condition)
        .order_by(Notification.id)
        .limit(ROWS_PER_QUERY)
    )
    return cast("list[_Row]", rows)


def _by_user(rows: Sequence[_Row]) -> defaultdict[UUID, list[FeedItem]]:
    items: defaultdict[UUID, list[FeedItem]] = defaultdict(list)
    for row in rows:
        items[row["recipient"]].append(
            FeedItem(
                notification_type=row["type"],
                training_uuid=row["training"],
                body=msgspec.Raw(row["body"].encode()),
                id=row["id"],
                created_at=row["created_at"],
            )
        )
    return items
