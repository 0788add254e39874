"""The audit log of a training, read page by page by who may read it."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from uuid import UUID

import msgspec
from piccolo.custom_types import Combinable

from backend.audit.disclosure import OF_THE_TRAINING, disclosed
from backend.audit.events import AuditKind, shown_time
from backend.audit.schemas import AuditEventJson
from backend.db.tables import AuditEvent, Participant, Training, training_key
from backend.errors import NotAllowed, NotFound
from backend.paging import LARGEST_ID
from backend.security.caller import Caller
from backend.security.ids import parse_id

# An event of a large round has a hundred kilobytes; pages, not the log, are kept in memory.
EVENTS_PER_PAGE = 100


class LoggedEvent(msgspec.Struct, frozen=True):
    """An event as it is stored."""

    id: int
    training: UUID
    at: datetime
    kind: str
    who: UUID | None
    round: int | None
    details: str
    digest: str


class Reader(msgspec.Struct, frozen=True):
    """Somebody who may read a training's log.

    Attributes:
        participant: Set for who sees only what is theirs.
    """

    training_id: UUID
    participant: UUID | None

    def condition(self) -> Combinable:
        """Of the events that they see, for a query."""
        of_training = AuditEvent.training == self.training_id
        if self.participant is None:
            return of_training
        shown = [kind.value for kind in OF_THE_TRAINING]
        return of_training & (AuditEvent.kind.is_in(shown) | (AuditEvent.who == self.participant))

    def sees(self, kind: str, who: UUID | None) -> bool:
        """Whether they see such an event of the training; what of it, `shown` says."""
        return self.participant is None or kind in OF_THE_TRAINING or who == self.participant

    def shown(self, event: LoggedEvent) -> AuditEventJson:
        """The event as they may see it."""
        details, redacted = event.details.encode(), False
        if self.participant is not None:
            details, redacted = disclosed(event.kind, details, self.participant)
        return AuditEventJson(
            id=event.id,
            at=shown_time(event.at),
            kind=event.kind,
            who=event.who,
            round=event.round,
            redacted=redacted,
            details=msgspec.Raw(details),
            digest=event.digest,
        )


class Span(msgspec.Struct, frozen=True):
    """A part of a log.

    Attributes:
        after: Only what has a higher id.
        before: Only what has a lower id.
        newest_first: Begin at the end.
    """

    after: int = 0
    before: int = LARGEST_ID
    newest_first: bool = False

    def beyond(self, event_id: int) -> "Span":
        """What follows an event, in the direction of reading."""
        if self.newest_first:
            return msgspec.structs.replace(self, before=event_id)
        return msgspec.structs.replace(self, after=event_id)


async def find_reader(given_id: str, caller: Caller) -> Reader:
    """What the caller may read of the log of a training, which may have been deleted since.

    Raises:
        NotFound: there never was such a training.
        NotAllowed: the caller is neither its actor nor a participant, nor a superuser.
    """
    training_id = parse_id("Training", given_id)
    training = await Training.objects().get(Training.id == training_id)
    actor = await _creator(training_id) if training is None else training.actor
    if training is None and actor is None:
        raise NotFound("Training", given_id)
    if caller.superuser or actor == caller.id:
        return Reader(training_id, None)
    if await Participant.exists().where(Participant.key == training_key(training_id, caller.id)):
        return Reader(training_id, caller.id)
    raise NotAllowed("The audit log of this training is not yours to see.")


async def events_in(reader: Reader, span: Span, *, limit: int) -> list[AuditEventJson]:
    """The first events of a part of the log."""
    wanted = reader.condition() & (AuditEvent.id > span.after) & (AuditEvent.id < span.before)
    events = await read_events(wanted, newest_first=span.newest_first, limit=limit)
    return [reader.shown(event) for event in events]


async def lines_in(reader: Reader, span: Span, *, limit: int | None) -> AsyncIterator[bytes]:
    """The same as JSON Lines, some events at a time; all of them without a limit."""
    encoder = msgspec.json.Encoder()
    while limit is None or limit > 0:
        size = EVENTS_PER_PAGE if limit is None else min(limit, EVENTS_PER_PAGE)
        events = await events_in(reader, span, limit=size)
        if events:
            yield encoder.encode_lines(events)
            span = span.beyond(events[-1].id)
        if len(events) < size:
            return
        limit = None if limit is None else limit - size


async def read_events(
    condition: Combinable, *, newest_first: bool = False, limit: int = EVENTS_PER_PAGE
) -> list[LoggedEvent]:
    """Events of any trainings, in order of id."""
    rows = (
        await AuditEvent.select()
        .where(condition)
        .order_by(AuditEvent.id, ascending=not newest_first)
        .limit(limit)
    )
    return msgspec.convert(rows, list[LoggedEvent])


async def newest_ids(trainings: Collection[UUID]) -> dict[UUID, int]:
    """Id of the newest event in each log that has one."""
    wanted = list(trainings)
    # Grouped by training, the database would walk through all events of each.
    rows = await AuditEvent.raw(
        " UNION ALL ".join(
            f"SELECT {place} AS place, MAX(id) AS newest FROM audit_event WHERE training = {{}}"  # noqa: S608 - of numbers; values are parameters
            for place in range(len(wanted))
        ),
        *wanted,
    )
    return {wanted[row["place"]]: row["newest"] for row in rows if row["newest"] is not None}


async def _creator(training_id: UUID) -> UUID | None:
    first = (
        await AuditEvent.select(AuditEvent.who)
        .where(
            (AuditEvent.training == training_id)
            & (AuditEvent.kind == AuditKind.TRAINING_CREATED.value)
        )
        .order_by(AuditEvent.id)
        .first()
    )
    return None if first is None else first["who"]
