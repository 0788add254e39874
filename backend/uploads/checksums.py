"""The `Upload-Checksum` header of the tus protocol."""

import base64
import hashlib
from collections.abc import Callable
from typing import NamedTuple

from backend.errors import InvalidRequest

# SHA-1 is what the protocol asks of every server; it tells damage from none, which is all.
ALGORITHMS: dict[str, Callable[[], "hashlib._Hash"]] = {
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
}


class Checksum(NamedTuple):
    """What the bytes of one request should hash to, and the hash to put them in."""

    hash: "hashlib._Hash"
    expected: bytes

    def is_met(self) -> bool:
        """Whether the bytes hashed so far are those."""
        return self.hash.digest() == self.expected


def parse_checksum(header: str | None) -> Checksum | None:
    """The checksum that a request carries, if any. Raises `InvalidRequest`."""
    if header is None:
        return None
    algorithm, _, encoded = header.strip().partition(" ")
    if algorithm.lower() not in ALGORITHMS:
        raise InvalidRequest(
            f"Upload-Checksum: the algorithm must be one of {', '.join(ALGORITHMS)}."
        )
    try:
        expected = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise InvalidRequest("Upload-Checksum: the checksum is not in Base64.") from error
    return Checksum(ALGORITHMS[algorithm.lower()](), expected)
