"""The audit log of a training, read page by page by who may read it."""

from collections.abc import AsyncIterator
from uuid import UUID

import msgspec

from backend.audit.disclosure import OF_THE_TRAINING, disclosed
from backend.audit.events import AuditKind, shown_time
from backend.audit.schemas import AuditEventJson
from backend.db.tables import AuditEvent, Participant, Training, training_key
from backend.errors import NotAllowed, NotFound
from backend.security.authentication import Caller
from backend.security.ids import parse_id

# An event of a large round has a hundred kilobytes; pages, not the log, are kept in memory.
EVENTS_PER_PAGE = 100


class Reader(msgspec.Struct, frozen=True):
    """Somebody who may read a training's log.

    Attributes:
        participant: Set for who sees only what is theirs.
    """

    training_id: UUID
    participant: UUID | None


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


async def events_after(reader: Reader, after: int, *, limit: int) -> list[AuditEventJson]:
    """The events that follow the one with this id, oldest first."""
    wanted = (AuditEvent.training == reader.training_id) & (AuditEvent.id > after)
    if reader.participant is not None:
        wanted &= AuditEvent.kind.is_in([kind.value for kind in OF_THE_TRAINING]) | (
            AuditEvent.who == reader.participant
        )
    rows = await AuditEvent.objects().where(wanted).order_by(AuditEvent.id).limit(limit)
    return [_shown(row, reader) for row in rows]


async def lines_after(reader: Reader, after: int, *, limit: int | None) -> AsyncIterator[bytes]:
    """The same as JSON Lines, some events at a time; all of them without a limit."""
    encoder = msgspec.json.Encoder()
    while limit is None or limit > 0:
        size = EVENTS_PER_PAGE if limit is None else min(limit, EVENTS_PER_PAGE)
        events = await events_after(reader, after, limit=size)
        if events:
            yield encoder.encode_lines(events)
            after = events[-1].id
        if len(events) < size:
            return
        limit = None if limit is None else limit - size


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


def _shown(row: AuditEvent, reader: Reader) -> AuditEventJson:
    details, redacted = row.details.encode(), False
    if reader.participant is not None:
        details, redacted = disclosed(row.kind, details, reader.participant)
    return AuditEventJson(
        id=row.id,
        at=shown_time(row.at),
        kind=row.kind,
        who=row.who,
        round=row.round,
        redacted=redacted,
        details=msgspec.Raw(details),
        digest=row.digest,
    )
