"""The audit log: appended to in the transaction of what happened, chained by hashes.

Each event's digest covers the digest of the event before it, so that a changed, missing or
reordered event is noticed by whoever recomputes the chain.
"""

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from backend.db.tables import AuditEvent

# What the first event of a training chains to.
NO_DIGEST = "0" * 64


class AuditKind(StrEnum):
    """What happened."""

    TRAINING_CREATED = "training_created"
    PARTICIPANTS_REGISTERED = "participants_registered"
    PARTICIPANTS_REMOVED = "participants_removed"
    TRAINING_STARTED = "training_started"
    TRAINING_PAUSED = "training_paused"
    TRAINING_RESUMED = "training_resumed"
    TRAINING_COMPLETED = "training_completed"
    TRAINING_FAILED = "training_failed"
    TRAINING_ABORTED = "training_aborted"
    TRAINING_DELETED = "training_deleted"
    ROUND_OPENED = "round_opened"
    COHORT_REDRAWN = "cohort_redrawn"
    ROUND_EXTENDED = "round_extended"
    ROUND_CLOSED = "round_closed"
    ROUND_AGGREGATED = "round_aggregated"
    ROUND_HANDED_ON = "round_handed_on"
    UPDATE_ACCEPTED = "update_accepted"
    MOMENTS_ACCEPTED = "moments_accepted"
    MOMENTS_CLOSED = "moments_closed"
    MOMENTS_AGGREGATED = "moments_aggregated"
    TEST_REPORTED = "test_reported"
    TESTS_CLOSED = "tests_closed"
    UPDATE_DELETED = "update_deleted"
    UPDATES_DELETED = "updates_deleted"
    VERSIONS_DELETED = "versions_deleted"


async def record(
    kind: AuditKind,
    training_id: UUID,
    *,
    who: UUID | None = None,
    round: int | None = None,
    **details: object,
) -> None:
    """Append an event.

    Constraints: runs inside the write transaction of what happened, which MUST hold the training's
    row locked (`rounds.records.guard`) or have inserted it: two events never chain to the same one.

    Args:
        who: The user who did it; None for the server.
        details: JSON-ready; ids as UUID.
    """
    last = (
        await AuditEvent.select(AuditEvent.digest)
        .where(AuditEvent.training == training_id)
        .order_by(AuditEvent.id, ascending=False)
        .first()
    )
    at = datetime.now(UTC)
    encoded = msgspec.json.encode(details).decode()
    await AuditEvent.insert(
        AuditEvent(
            training=training_id,
            at=at,
            kind=kind.value,
            who=who,
            round=round,
            details=encoded,
            digest=event_digest(
                NO_DIGEST if last is None else last["digest"],
                training_id=training_id,
                at=at,
                kind=kind.value,
                who=who,
                round=round,
                details=encoded,
            ),
        )
    )


def event_digest(
    previous: str,
    *,
    training_id: UUID,
    at: datetime,
    kind: str,
    who: UUID | None,
    round: int | None,
    details: str,
) -> str:
    """SHA-256 over the previous event's digest and this event, in hex.

    The hashed text is a JSON list: previous digest, training, time in UTC as ISO 8601 with
    microseconds, kind, user or null, round or null, and the details as the JSON text they are
    stored as.
    """
    content = [previous, training_id, shown_time(at), kind, who, round, details]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def shown_time(at: datetime) -> str:
    """A time as it is hashed and shown."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")
