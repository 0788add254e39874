"""When users were last seen, to the minute: collected in memory, written once a minute."""

import asyncio
import logging
from collections import defaultdict
from datetime import UTC, datetime
from uuid import UUID

from backend.db.bulk import ROWS_PER_STATEMENT
from backend.db.engine import Database
from backend.db.tables import User
from backend.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 60.0


class Presence:
    """Who was there since the last time it was written down.

    A crash loses a minute of it, which nobody relies on.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[UUID, datetime] = {}

    def seen(self, user_id: UUID) -> None:
        """The user is there now."""
        self._seen[user_id] = datetime.now(UTC).replace(second=0, microsecond=0)

    def last_seen(self, user_id: UUID, written: datetime | None) -> datetime | None:
        """When the user was last seen, given what the database has; None: never."""
        return max(filter(None, (written, self._seen.get(user_id))), default=None)

    async def run(self) -> None:
        """Write once a minute, for ever."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:
                # Nobody else would start this loop again.
                logger.exception("who was seen was not written")

    async def flush(self) -> None:
        """Write what was collected; what cannot be written is kept for the next time."""
        seen = dict(self._seen)
        users_of: defaultdict[datetime, list[UUID]] = defaultdict(list)
        for user_id, minute in seen.items():
            users_of[minute].append(user_id)
        try:
            for minute, users in users_of.items():
                for start in range(0, len(users), ROWS_PER_STATEMENT):
                    await self._write(minute, users[start : start + ROWS_PER_STATEMENT])
        except DatabaseUnavailable as error:
            logger.warning("who was seen is written later: %s", error)
            return
        for user_id, minute in seen.items():
            if self._seen[user_id] == minute:  # not seen again meanwhile
                del self._seen[user_id]

    async def _write(self, minute: datetime, users: list[UUID]) -> None:
        async with self._database.write_transaction():
            await User.update({User.last_seen_at: minute}).where(User.id.is_in(users))
