"""Which part of a training's audit log a participant may see.

Their own events, and those of the training as a whole; in the latter's details they find, of the
people and deliveries listed, only themselves and what is theirs. Sample sizes and digests of
others' updates, and who missed a round, are nobody's but the actor's.
"""

from uuid import UUID

import msgspec

from backend.audit.events import AuditKind

# Events of a participant are not in this list: they are shown to who they are about.
OF_THE_TRAINING = frozenset(
    {
        AuditKind.TRAINING_CREATED,
        AuditKind.TRAINING_STARTED,
        AuditKind.TRAINING_PAUSED,
        AuditKind.TRAINING_RESUMED,
        AuditKind.TRAINING_COMPLETED,
        AuditKind.TRAINING_FAILED,
        AuditKind.TRAINING_ABORTED,
        AuditKind.TRAINING_DELETED,
        AuditKind.PARTICIPANTS_REGISTERED,
        AuditKind.ROUND_OPENED,
        AuditKind.COHORT_REDRAWN,
        AuditKind.ROUND_EXTENDED,
        AuditKind.ROUND_CLOSED,
        AuditKind.ROUND_AGGREGATED,
        AuditKind.ROUND_HANDED_ON,
        AuditKind.MOMENTS_CLOSED,
        AuditKind.MOMENTS_AGGREGATED,
        AuditKind.TESTS_CLOSED,
        AuditKind.UPDATES_DELETED,
        AuditKind.VERSIONS_DELETED,
    }
)

# Lists of people, or of what people delivered, and a mapping of people to models.
_OF_PEOPLE = ("participants", "users", "cohort", "missing", "updates", "moments", "handed_on")


def disclosed(kind: str, details: bytes, participant: UUID) -> tuple[bytes, bool]:
    """Details of an event as this participant may see them, and whether something is left out.

    Args:
        details: JSON object, as it is stored.
    """
    if kind not in OF_THE_TRAINING:
        return details, False  # their own
    whole = msgspec.json.decode(details, type=dict[str, object])
    shown = {
        name: _own(value, str(participant)) if name in _OF_PEOPLE else value
        for name, value in whole.items()
    }
    return (details, False) if shown == whole else (msgspec.json.encode(shown), True)


def _own(listed: object, participant: str) -> object:
    match listed:
        case list():
            return [entry for entry in listed if _is_theirs(entry, participant)]
        case dict():
            return {key: value for key, value in listed.items() if key == participant}
        case _:
            return None


def _is_theirs(entry: object, participant: str) -> bool:
    return (entry.get("owner") if isinstance(entry, dict) else entry) == participant
