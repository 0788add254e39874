"""Who cannot be reached by webhook at the moment."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import msgspec

from backend.db.bulk import ROWS_PER_STATEMENT
from backend.db.tables import Notification


class Unreachable(msgspec.Struct, frozen=True):
    """A webhook that does not take what it is sent.

    Attributes:
        since: Time of the oldest notification that waits.
        last_error: Why the last attempt failed, for people.
        attempts: How often that notification was tried.
    """

    since: datetime
    last_error: str
    attempts: int


async def unreachable(users: Collection[UUID]) -> dict[UUID, Unreachable]:
    """Those of the users whose oldest waiting notification was tried at least once, in vain."""
    wanted = list(users)
    found: dict[UUID, Unreachable] = {}
    for start in range(0, len(wanted), ROWS_PER_STATEMENT):
        # Only the oldest one is ever tried, so that the order is kept.
        rows = (
            await Notification.select(
                Notification.recipient,
                Notification.created_at,
                Notification.last_error,
                Notification.attempts,
            )
            .where(
                Notification.recipient.is_in(wanted[start : start + ROWS_PER_STATEMENT])
                & Notification.waiting.eq(True)
                & (Notification.attempts > 0)
            )
            .order_by(Notification.id)
        )
        for row in rows:
            found.setdefault(
                row["recipient"],
                Unreachable(row["created_at"], row["last_error"] or "", row["attempts"]),
            )
    return found
