"""Password hashes (argon2id), computed off the event loop."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from backend.settings import DEFAULT_HASHING, PasswordHashing

ResultT = TypeVar("ResultT")

_HASHERS: dict[PasswordHashing, PasswordHasher] = {
    "rfc9106": PasswordHasher(),
    "owasp": PasswordHasher(memory_cost=19 * 1024, time_cost=2, parallelism=1),
}

# argon2 takes up to 64 MiB and a core each time: who registers or signs in waits for the others
# who do, and nobody else does.
_THREADS = ThreadPoolExecutor(2, thread_name_prefix="argon2")

VERIFIED_SECONDS = 300.0
VERIFIED_ENTRIES = 10_000


async def hash_password(password: str, hashing: PasswordHashing = DEFAULT_HASHING) -> str:
    """The PHC string to store for `password`; it says how it was made."""
    return await _off_loop(_HASHERS[hashing].hash, password)


class PasswordVerifier:
    """Checks passwords, and remembers for a while which (hash, password) pairs were right.

    Clients that send a password with every request then pay for one argon2 in five minutes. Only a
    keyed digest is remembered, under a key that lives as long as the process; a changed password
    has another hash and so is never found.
    """

    def __init__(self, hashing: PasswordHashing = DEFAULT_HASHING) -> None:
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._decoy = _HASHERS[hashing].hash(secrets.token_urlsafe(16))

    def remembers(self, password_hash: str, password: str) -> bool:
        """Whether the pair was right a short while ago."""
        digest = self._digest(password_hash, password)
        return self._verified.get(digest, 0.0) > time.monotonic()

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` belongs to `password_hash`; None takes as long and is False."""
        stored = password_hash or self._decoy
        if self.remembers(stored, password):
            return True
        digest = self._digest(stored, password)
        right = await _off_loop(_matches, stored, password)
        if not right or password_hash is None:
            return False
        self._verified[digest] = time.monotonic() + VERIFIED_SECONDS
        while len(self._verified) > VERIFIED_ENTRIES:
            self._verified.popitem(last=False)
        return True

    def _digest(self, password_hash: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{password_hash}\0{password}".encode(), hashlib.sha256)


async def _off_loop(call: Callable[..., ResultT], *arguments: str) -> ResultT:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call, *arguments)


def _matches(password_hash: str, password: str) -> bool:
    try:
        # Any hasher will do: how the stored one was made is read from it.
        return PasswordHasher().verify(password_hash, password)
    except (VerifyMismatchError, VerificationError, InvalidHashError):
        return False
