"""The feed: what a user was told, in order, for whoever asks or waits for it.

One reader looks at the outbox for everybody who waits: when it is woken, and every few seconds so
that nothing depends on that. It asks for everything above the highest id it has seen, which is
right because ids are in the order of commits (see `outbox.enqueue`). Who waits holds no database
connection, and has it asked only where the reader may have passed something by; a database that is
away only delays.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TypedDict, cast
from uuid import UUID

import msgspec
from piccolo.custom_types import Combinable

from backend.db.conditions import any_of
from backend.db.lookups import Lookups
from backend.db.tables import Notification
from backend.notifications.outbox import FeedItem
from backend.subscriptions import Subscription, look_forever

ROWS_PER_QUERY = 1000
MAX_ITEMS = 500

_Place = tuple[UUID, int]


class _Row(TypedDict):
    id: int
    recipient: UUID
    training: UUID
    type: str
    body: str
    created_at: datetime


class Feed:
    """Hands new notifications to who waits; runs until cancelled."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._subscriptions: defaultdict[UUID, set[Subscription[FeedItem]]] = defaultdict(set)
        self._backlogs = Lookups(_read_backlogs)
        self._seen = 0
        # Of who asked or was told: when the reader had got to `_seen`, nothing was above this id.
        self._nothing_above: dict[UUID, int] = {}
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
    def subscribe(
        self, user: UUID, *, after: int, waiting: bool = False
    ) -> Iterator[Subscription[FeedItem]]:
        """A subscription to what `user` is told, from the first id above `after` on.

        Args:
            waiting: It waits for what was committed a moment ago, too. Then the database is not
                asked where the reader has been and found nothing; who does not wait is told of
                all that was committed before they asked.
        """

        async def backlog(seen: int) -> Sequence[FeedItem] | None:
            known = self._nothing_above.get(user)
            if waiting and known is not None and known <= seen:
                return None
            found = await self._backlogs.get((user, seen))
            # Not if they were told something meanwhile, which the database did not have then. What
            # is above `_seen` is unknown, whatever they ask from: an id of another database, say.
            if not found and self._nothing_above.get(user) == known:
                self._nothing_above[user] = min(seen, self._seen)
            return found

        subscription = Subscription(after, backlog)
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
        await look_forever(self._look, self._woken)

    async def _look(self) -> None:
        try:
            await self._hand_on()
        except Exception:
            # Who waits looks for themselves until the reader can be relied on again.
            self._nothing_above.clear()
            raise

    async def _hand_on(self) -> None:
        while True:
            rows = await _read(Notification.id > self._seen)
            news = _by_user(rows)
            self._nothing_above.update((user, items[-1].id) for user, items in news.items())
            # Who began to wait last is told first: a round lasts as long as its slowest takes.
            for user, subscriptions in reversed(self._subscriptions.items()):
                for subscription in subscriptions if user in news else ():
                    subscription.arrive(news[user])
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
        rows = await _read(any_of(conditions))
        items = _by_user(rows)
        for user, after in missing:
            found[user, after] = [one for one in items[user] if one.id > after][:MAX_ITEMS]
        if len(rows) < ROWS_PER_QUERY:
            break
        # Somebody's many hid what others have; who has got some asks for the rest later.
        missing = [place for place in missing if not found[place]]
    return found


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
