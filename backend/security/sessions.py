"""Sessions of browsers: the secret is in a cookie, its hash in a row.

A session ends when its user signs out, is disabled or is given another password, when it was not
used for a while, and at the latest after `LIFETIME`. Whether the user is active, and what they may
do, is asked at each request.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.db.engine import Database
from backend.db.lookups import Lookups
from backend.db.tables import Session, User
from backend.errors import DatabaseUnavailable

logger = logging.getLogger(__name__)

LIFETIME = timedelta(days=30)
# A session in use is renewed once in this part of the time that it may be idle.
RENEWALS_PER_IDLE_TIME = 12
SECRET_BYTES = 32


class SessionOwner(msgspec.Struct, frozen=True):
    """A session that has not expired, and its user."""

    id: UUID
    username: str
    superuser: bool
    active: bool
    secret_hash: str
    created_at: datetime
    expires_at: datetime


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, database: Database, *, idle_seconds: float) -> None:
        self._database = database
        self._idle = timedelta(seconds=idle_seconds)
        self._by_hash = Lookups(_owners)
        self._being_renewed: set[str] = set()

    async def open(
        self, user_id: UUID, *, password_hash: str | None = None, replacing: str | None = None
    ) -> str | None:
        """The secret of a new session; None when the user may not sign in any more.

        Args:
            password_hash: What the given password was right for; another one by now is a change.
            replacing: Secret of a session that ends with this one's beginning.
        """
        secret = secrets.token_urlsafe(SECRET_BYTES)
        now = datetime.now(UTC)
        may_sign_in = (User.id == user_id) & User.active.eq(True)
        if password_hash is not None:
            may_sign_in &= User.password_hash == password_hash
        async with self._database.write_transaction():
            # An update, so that nobody disables the user before the session can be seen and ended.
            allowed = await User.update({User.active: True}).where(may_sign_in).returning(User.id)
            if not allowed:
                return None
            if replacing is not None:
                await Session.delete().where(Session.secret_hash == hash_secret(replacing))
            await Session.insert(
                Session(
                    secret_hash=hash_secret(secret),
                    user=user_id,
                    created_at=now,
                    expires_at=min(now + self._idle, now + LIFETIME),
                )
            )
        return secret

    async def find(self, secret: str, *, renewing: bool = True) -> SessionOwner | None:
        """The session with this secret, and its user; None when there is none any more.

        Args:
            renewing: Whether this is a use of it, which lets it go on.
        """
        now = datetime.now(UTC)
        found = await self._by_hash.get(hash_secret(secret))
        if found is None or found.expires_at <= now:
            return None
        expires_at = min(now + self._idle, found.created_at + LIFETIME)
        if renewing and expires_at - found.expires_at > self._idle / RENEWALS_PER_IDLE_TIME:
            await self._renew(found.secret_hash, expires_at)
        return found

    async def end(self, secret: str) -> None:
        """End the session with this secret, if there is one."""
        async with self._database.write_transaction():
            await Session.delete().where(Session.secret_hash == hash_secret(secret))

    async def sweep(self) -> int:
        """Forget sessions that have expired; gives their number."""
        async with self._database.write_transaction():
            expired = (
                await Session.delete()
                .where(Session.expires_at <= datetime.now(UTC))
                .returning(Session.id)
            )
        return len(expired)

    async def _renew(self, secret_hash: str, expires_at: datetime) -> None:
        # A page comes with a dozen requests.
        if secret_hash in self._being_renewed:
            return
        self._being_renewed.add(secret_hash)
        try:
            async with self._database.write_transaction():
                await Session.update({Session.expires_at: expires_at}).where(
                    Session.secret_hash == secret_hash
                )
        except DatabaseUnavailable as error:
            # It was read: the request need not fail for this, and the next one tries again.
            logger.warning("a session is renewed later: %s", error)
        finally:
            self._being_renewed.discard(secret_hash)


async def end_sessions(user_id: UUID, *, but: str | None = None) -> None:
    """End a user's sessions; runs inside a write transaction.

    Args:
        but: Hash of the secret of one that goes on.
    """
    ended = Session.user == user_id
    await Session.delete().where(ended if but is None else ended & (Session.secret_hash != but))


def hash_secret(secret: str) -> str:
    """What is stored of a secret; it has enough entropy to need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


def csrf_token(secret: str) -> str:
    """What a page of ours sends with each change, and no other page can know."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


async def _owners(hashes: Collection[str]) -> dict[str, SessionOwner]:
    # As in `authentication`: every request with a cookie waits for this one.
    places = ", ".join("{}" for _ in hashes)
    query = (
        "SELECT u.id, u.username, u.superuser, u.active, s.secret_hash, s.created_at, s.expires_at "  # noqa: S608
        'FROM browser_session AS s JOIN starling_user AS u ON u.id = s."user" '
        f"WHERE s.secret_hash IN ({places})"
    )
    found = msgspec.convert(await Session.raw(query, *hashes), list[SessionOwner])
    return {one.secret_hash: one for one in found}
