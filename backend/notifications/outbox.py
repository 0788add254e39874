"""Notifications, written in the transaction of what they tell about."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from backend.db.bulk import ROWS_PER_STATEMENT
from backend.db.locks import lock_until_commit
from backend.db.tables import Notification

# Of the advisory lock under which PostgreSQL hands out ids; any number nobody else uses.
ORDER_LOCK = 0x53_74_61_72_6C


class NotificationType(StrEnum):
    """What happened, as existing clients know it."""

    TRAINING_START = "TRAINING_START"
    UPDATE_ROUND_START = "UPDATE_ROUND_START"
    SWAG_ROUND_START = "SWAG_ROUND_START"
    MODEL_TEST_ROUND = "MODEL_TEST_ROUND"
    TRAINING_FINISHED = "TRAINING_FINISHED"
    CLIENT_REMOVED = "CLIENT_REMOVED"


class NotificationJson(msgspec.Struct):
    """The payload of a webhook."""

    notification_type: str
    training_uuid: UUID
    body: msgspec.Raw


class FeedItem(NotificationJson):
    """A notification in the feed: the payload of a webhook, its id and its time."""

    id: int
    created_at: datetime


async def enqueue(
    kind: NotificationType,
    recipients: Iterable[UUID],
    training_id: UUID,
    body: Mapping[str, object],
) -> None:
    """Tell the recipients, once each; runs inside the caller's write transaction.

    Who has no webhook finds the notification in the feed, and nothing waits to be pushed. Ids are
    in the order of commits: who has seen one will never be shown a lower one.
    """
    wanted = list(dict.fromkeys(recipients))
    for start in range(0, len(wanted), ROWS_PER_STATEMENT):
        some = wanted[start : start + ROWS_PER_STATEMENT]
        await _insert(
            f"WHERE id IN ({', '.join(['{}'] * len(some))})", some, kind, training_id, body
        )


async def enqueue_for_participants(
    kind: NotificationType, training_id: UUID, body: Mapping[str, object]
) -> None:
    """Tell everybody who takes part in the training; as `enqueue`, whoever they are."""
    await _insert(
        'JOIN participant ON participant."user" = starling_user.id '
        "WHERE participant.training = {} ORDER BY participant.id",
        [training_id],
        kind,
        training_id,
        body,
    )


async def _insert(
    of_users: str,
    values: Sequence[UUID],
    kind: NotificationType,
    training_id: UUID,
    body: Mapping[str, object],
) -> None:
    await lock_until_commit(ORDER_LOCK)
    # One statement: as rows of Piccolo's, a round's start would take longer to tell to everybody
    # than all else that its transaction does.
    await Notification.raw(
        "INSERT INTO notification "  # noqa: S608 - of constants; values are parameters
        "(recipient, training, type, body, created_at, waiting, attempts) "
        "SELECT starling_user.id, {}, {}, {}, {}, message_endpoint <> '', 0 FROM starling_user "
        + of_users,
        *(training_id, kind.value, msgspec.json.encode(body).decode(), datetime.now(UTC), *values),
    )


def payload(row: Mapping[str, object]) -> bytes:
    """The bytes POSTed for a row of the outbox."""
    return msgspec.json.encode(
        NotificationJson(
            notification_type=str(row["type"]),
            training_uuid=UUID(str(row["training"])),
            body=msgspec.Raw(str(row["body"]).encode()),
        )
    )
