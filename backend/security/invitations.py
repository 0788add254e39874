"""Invitations to register: signed, so that making one needs no database; used up when taken.

An invitation is `<32 hex digits>.<expiry>.<signature>`; the digits are its number, random, and the
expiry is in seconds since 1970. `UsedInvitation` holds the numbers of those that were taken.
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

import msgspec


class Invitation(msgspec.Struct, frozen=True):
    """A genuine invitation."""

    number: str
    expires_at: datetime


def new_invitation(secret: str, lifetime: timedelta, *, now: datetime) -> str:
    """A code that lets one person register until `now + lifetime`."""
    number = secrets.token_hex(16)
    expires = int((now + lifetime).timestamp())
    return f"{number}.{expires}.{_signature(secret, number, expires)}"


def read_invitation(secret: str, code: str, *, now: datetime) -> Invitation | None:
    """The invitation in a code; None when it is not genuine, or expired."""
    match code.strip().split("."):
        case [number, expires, signature] if code.isascii() and expires.isdecimal():
            expected = _signature(secret, number, int(expires[:15]))
            genuine = hmac.compare_digest(expected, signature)
        case _:
            return None
    if not genuine or int(expires) <= now.timestamp():
        return None
    return Invitation(number, datetime.fromtimestamp(int(expires), UTC))


def _signature(secret: str, number: str, expires: int) -> str:
    message = f"invitation:{number}:{expires}".encode()
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
