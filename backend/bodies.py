"""Bodies of requests, taken as a stream."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException

from backend.content_coding import Decoder, decoder_of
from backend.errors import CONNECTION_BROKE, InvalidRequest, TooLarge, WrongMediaType
from backend.staging import Staging
from compute.blobs import Staged

DIGEST_HEADERS = ("content-digest", "repr-digest")

UserT = TypeVar("UserT")

_SHA256 = re.compile(r"(?:^|[,\s])sha-256\s*=\s*:([^:]*):", re.IGNORECASE)


async def limited(request: Request[UserT, object, State], limit_bytes: int) -> AsyncIterator[bytes]:
    """The chunks of a body.

    Raises:
        TooLarge: they are more than `limit_bytes` together.
        InvalidRequest: the connection broke.
    """
    message = f"The body is larger than the {limit_bytes} bytes that this server takes."
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise TooLarge(message)
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit_bytes:
                raise TooLarge(message)
            yield chunk
    except InternalServerException as error:
        raise InvalidRequest(CONNECTION_BROKE) from error


@asynccontextmanager
async def staged_body(
    request: Request[UserT, object, State],
    staging: Staging,
    *,
    media_types: Collection[str],
    limit_bytes: int,
) -> AsyncIterator[Staged]:
    """The body as one staged file, decoded; discarded at the end unless it was promoted.

    `Content-Digest` and `Repr-Digest` (RFC 9530), of the bytes as they were sent, are held against
    what arrived.

    Args:
        media_types: What is taken, in lower case; a request that says none is taken too.
        limit_bytes: Largest body, and largest decoded body.

    Raises:
        InvalidRequest: it is not what its digest says, or damaged.
        TooLarge: it is larger than the limit, or unfolds beyond reason.
        WrongMediaType: it is in another format or coding.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type and media_type not in media_types:
        raise WrongMediaType(
            f'Unsupported media type "{media_type[:80]}" in request. Send {min(media_types)}.'
        )
    expected = expected_digests(request.headers)
    decoder = decoder_of(request.headers.get("content-encoding", ""), limit_bytes=limit_bytes)
    hashed = HashedDecoder(decoder) if decoder is not None and expected else None
    stream = staging.stream(hashed or decoder)
    try:
        async for chunk in limited(request, limit_bytes):
            await stream.write(chunk)
        staged = await stream.finish()
    except BaseException:
        await stream.abort()
        raise
    try:
        _require_digests(expected, staged.digest if hashed is None else hashed.received())
        yield staged
    finally:
        await staging.discard(staged)


def expected_digests(headers: Mapping[str, str]) -> dict[str, str]:
    """Header name to the SHA-256 that it announces, in hex; other algorithms are passed over.

    Raises `InvalidRequest` for what is no SHA-256.
    """
    expected: dict[str, str] = {}
    for name in DIGEST_HEADERS:
        for encoded in _SHA256.findall(headers.get(name, "")):
            try:
                digest = base64.b64decode(encoded, validate=True)
            except ValueError:
                digest = b""
            if len(digest) != hashlib.sha256().digest_size:
                raise InvalidRequest.field(
                    name.title(), "Send sha-256=:…: with the Base64 of 32 bytes."
                )
            expected[name] = digest.hex()
    return expected


def _require_digests(expected: Mapping[str, str], received: str) -> None:
    for name, digest in expected.items():
        if digest != received:
            raise InvalidRequest.field(
                name.title(), f"What arrived has the SHA-256 {received}; send it again."
            )


class HashedDecoder:
    """A decoder that also hashes what it is given."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._sha256 = hashlib.sha256()

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        self._sha256.update(chunk)
        yield from self._decoder.decode(chunk)

    def end(self) -> None:
        self._decoder.end()

    def received(self) -> str:
        """SHA-256 of everything that it was given, in hex."""
        return self._sha256.hexdigest()
