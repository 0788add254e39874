"""New events of audit logs, for whoever follows one.

One reader asks for everybody who follows any log, by one query for a hundred of them: what is above
the highest id that it has seen *of that training*. Ids of one training are in the order of commits,
for each is given under its row's lock (see `events.record`); ids of different ones need not be.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from piccolo.custom_types import Combinable

from backend.audit.events import AuditKind
from backend.audit.log import EVENTS_PER_PAGE, LoggedEvent, Reader, newest_ids, read_events
from backend.db.conditions import any_of
from backend.db.lookups import KEYS_PER_QUERY, Lookups
from backend.db.tables import AuditEvent
from backend.subscriptions import RESCAN_SECONDS, Subscription, look_forever

_Place = tuple[Reader, int]


@dataclass
class _Followed:
    """A training that somebody follows.

    Attributes:
        seen: Id of the newest event that arrived, or was there before; None: not known yet.
    """

    seen: int | None = None
    readers: dict[Subscription[LoggedEvent], Reader] = field(default_factory=dict)

    def begin_at(self, newest: int) -> None:
        """Have what is above `newest` arrive, if nothing does yet."""
        if self.seen is None:
            self.seen = newest


class AuditFeed:
    """Hands new events to who follows their training; runs until cancelled."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._changed: set[UUID] = set()
        self._followed: dict[UUID, _Followed] = {}
        self._newest = Lookups(newest_ids)
        self._backlogs = Lookups(_read_backlogs)
        self._rescan_at = 0.0
        self._ended = False

    @contextlib.contextmanager
    def subscribe(self, reader: Reader, *, after: int) -> Iterator[Subscription[LoggedEvent]]:
        """A subscription to what `reader` may see of a log, from the first id above `after` on.

        It ends when its reader is removed from the training.
        """
        followed = self._followed.setdefault(reader.training_id, _Followed())

        async def backlog(seen: int) -> list[LoggedEvent] | None:
            # Whatever is committed from here on arrives, and what was before is in the backlog.
            if followed.seen is None:
                followed.begin_at(await self._newest.get(reader.training_id) or 0)
            return await self._backlogs.get((reader, seen))

        subscription: Subscription[LoggedEvent] = Subscription(after, backlog)
        followed.readers[subscription] = reader
        if self._ended:
            subscription.end()
        try:
            yield subscription
        finally:
            del followed.readers[subscription]
            if not followed.readers:
                del self._followed[reader.training_id]

    def wake(self, training_id: UUID) -> None:
        """Something was committed to the log of this training."""
        if training_id in self._followed:
            self._changed.add(training_id)
            self._woken.set()

    def end(self) -> None:
        """End every subscription, and whichever will be made, at once: the server stops."""
        self._ended = True
        for followed in self._followed.values():
            for subscription in followed.readers:
                subscription.end()

    async def run(self) -> None:
        """Hand on what is new, for ever."""
        await look_forever(self._hand_on, self._woken)

    async def _hand_on(self) -> None:
        changed, self._changed = self._changed, set()
        began_at = time.monotonic()
        rescan = began_at >= self._rescan_at
        trainings = list(self._followed if rescan else changed)
        for start in range(0, len(trainings), KEYS_PER_QUERY):
            await self._hand_on_of(trainings[start : start + KEYS_PER_QUERY])
        if rescan:
            self._rescan_at = began_at + RESCAN_SECONDS

    async def _hand_on_of(self, trainings: Sequence[UUID]) -> None:
        while True:
            conditions = [
                (AuditEvent.training == training) & (AuditEvent.id > followed.seen)
                for training in trainings
                if (followed := self._followed.get(training)) and followed.seen is not None
            ]
            events = await read_events(any_of(conditions)) if conditions else []
            of_training: defaultdict[UUID, list[LoggedEvent]] = defaultdict(list)
            for event in events:
                of_training[event.training].append(event)
            for training, its in of_training.items():
                if followed_now := self._followed.get(training):
                    _arrive(followed_now, its)
            if len(events) < EVENTS_PER_PAGE:
                return


def _arrive(followed: _Followed, events: Sequence[LoggedEvent]) -> None:
    for subscription, reader in followed.readers.items():
        if any(_removes(event, reader) for event in events):
            subscription.end()
        elif seen := [event for event in events if reader.sees(event.kind, event.who)]:
            subscription.arrive(seen)
    if followed.seen is not None:
        followed.seen = max(followed.seen, events[-1].id)


def _removes(event: LoggedEvent, reader: Reader) -> bool:
    """Whether the reader was a participant until this event."""
    return (
        reader.participant is not None
        and event.kind == AuditKind.PARTICIPANTS_REMOVED
        and str(reader.participant) in event.details
    )


async def _read_backlogs(places: Collection[_Place]) -> dict[_Place, list[LoggedEvent]]:
    """For each reader and id: the oldest events above it that the reader sees, some of them."""
    found: dict[_Place, list[LoggedEvent]] = {}
    missing = list(places)
    while missing:
        conditions: list[Combinable] = [
            reader.condition() & (AuditEvent.id > after) for reader, after in missing
        ]
        events = await read_events(any_of(conditions))
        for reader, after in missing:
            found[reader, after] = [
                event
                for event in events
                if event.training == reader.training_id
                and event.id > after
                and reader.sees(event.kind, event.who)
            ]
        if len(events) < EVENTS_PER_PAGE:
            break
        # Somebody's many hid what others have; who has got some asks for the rest later.
        missing = [place for place in missing if not found[place]]
    return found
