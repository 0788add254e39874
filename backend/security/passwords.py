"""Password hashes (argon2id, RFC 9106 low-memory profile), computed off the event loop."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

_HASHER = PasswordHasher()

VERIFIED_SECONDS = 300.0
VERIFIED_ENTRIES = 10_000


async def hash_password(password: str) -> str:
    """The PHC string to store for `password`."""
    return await asyncio.to_thread(_HASHER.hash, password)


class PasswordVerifier:
    """Checks passwords, and remembers for a while which (hash, password) pairs were right.

    Clients that send a password with every request then pay for one argon2 in five minutes. Only a
    keyed digest is remembered, under a key that lives as long as the process; a changed password
    has another hash and so is never found.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = _HASHER.hash(secrets.token_urlsafe(16))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` belongs to `password_hash`; None takes as long and is False."""
        stored = password_hash or self._decoy
        digest = hmac.digest(self._key, f"{stored}\0{password}".encode(), hashlib.sha256)
        if self._verified.get(digest, 0.0) > time.monotonic():
            return True
        right = await asyncio.to_thread(_matches, stored, password)
        if not right or password_hash is None:
            return False
        self._verified[digest] = time.monotonic() + VERIFIED_SECONDS
        while len(self._verified) > VERIFIED_ENTRIES:
            self._verified.popitem(last=False)
        return True


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
