"""Blobs over HTTP: whole, in part (RFC 9110, section 14), or not again.

The entity tag is the SHA-256 of the bytes, so it is strong, and says what a client should have.
"""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.datastructures.headers import Accept
from litestar.openapi.datastructures import ResponseSpec
from litestar.status_codes import (
    HTTP_200_OK,
    HTTP_206_PARTIAL_CONTENT,
    HTTP_304_NOT_MODIFIED,
)

from backend.byte_streams import ByteStream
from backend.entity_tags import names_tag
from backend.errors import InvalidRequest, NothingHere, RangeNotSatisfiable
from backend.http_methods import is_head
from backend.models.schemas import ModelWeights
from backend.models.state_dicts import StateDictFiles
from compute.blobs import BlobNotFound, BlobStore, Chunk
from compute.contract import TensorEncoding

UserT = TypeVar("UserT")

BINARY = "application/octet-stream"
SAFETENSORS = "application/vnd.safetensors"
ROUND_HEADER = "Starling-Round"
BUDGET_BYTES = 32 * 1024**2
LEAST_CHUNK_BYTES = 64 * 1024
LARGEST_CHUNK_BYTES = 4 * 1024**2

ModelFormat = Literal["original", "safetensors"]

DOWNLOAD_RESPONSES = {
    HTTP_206_PARTIAL_CONTENT: ResponseSpec(
        bytes, generate_examples=False, media_type=BINARY, description="The range asked for"
    ),
    HTTP_304_NOT_MODIFIED: ResponseSpec(
        None, generate_examples=False, description="The caller has these bytes already"
    ),
}

_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\s*", re.IGNORECASE)


class ByteRange(NamedTuple):
    """Bytes from `start` up to `end`, exclusive."""

    start: int
    end: int


def requested_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The part that a `Range` header asks for; None: all of it.

    What is malformed or asks for several parts is ignored, as the standard has it.

    Raises:
        RangeNotSatisfiable: there is no such part.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        if int(suffix) == 0 or size_bytes == 0:
            raise RangeNotSatisfiable(size_bytes)
        return ByteRange(max(0, size_bytes - int(suffix)), size_bytes)
    start = int(first)
    end = int(last) + 1 if last else size_bytes
    if last and end <= start:
        return None
    if start >= size_bytes:
        raise RangeNotSatisfiable(size_bytes)
    return ByteRange(start, min(end, size_bytes))


class _Opened(NamedTuple):
    """A blob of which something is to be sent.

    Attributes:
        size_bytes: Of all of it.
        part: None: all of it is wanted.
        first, rest: The chunks of what is wanted; none where only the headers are.
    """

    size_bytes: int
    part: ByteRange | None = None
    first: Chunk = b""
    rest: Iterator[Chunk] = iter(())


class Downloads:
    """Sends blobs and models, several at once within one budget of memory.

    Each download holds two chunks: one that is sent and the next, which a thread brings to memory
    meanwhile. Their size is the budget's share: large for a few fast clients, for which changing
    between the thread and the event loop counts, and small when all come at once.
    """

    def __init__(self, blobs: BlobStore, state_dicts: StateDictFiles) -> None:
        self._blobs = blobs
        self._state_dicts = state_dicts
        self._under_way = 0

    async def send_weights(
        self,
        request: Request[UserT, object, State],
        weights: ModelWeights,
        *,
        name: str,
        format: ModelFormat | None,
        encoding: TensorEncoding | None,
    ) -> ByteStream:
        """The answer to GET or HEAD of a model: its file, or its tensors alone.

        Args:
            name: Of the file, without what follows the dot.
            format: None: what the `Accept` header asks for, by default the file.

        Raises:
            InvalidRequest: an encoding is asked for and no format that has one.
            NothingHere, RangeNotSatisfiable: see `send_blob`.
        """
        if format is None:
            format = _accepted_format(request)
        headers = {"Vary": "Accept", ROUND_HEADER: str(weights.round)}
        if format == "original":
            if encoding is not None:
                raise InvalidRequest.field("encoding", "Ask for format=safetensors with it.")
            return await self.send_blob(request, weights.digest, f"{name}.pt", headers=headers)
        digest = await self._state_dicts.digest(weights.digest, encoding)
        return await self.send_blob(
            request, digest, f"{name}.safetensors", media_type=SAFETENSORS, headers=headers
        )

    async def send_blob(
        self,
        request: Request[UserT, object, State],
        digest: str,
        filename: str,
        *,
        media_type: str = BINARY,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> ByteStream:
        """The answer to GET or HEAD of a blob, with these headers and its own.

        Raises:
            NothingHere: it was replaced or deleted since its row was read.
            RangeNotSatisfiable: the caller asks for bytes that are not there.
        """
        tag = f'"{digest}"'
        with _replaced_meanwhile():
            # Size and first chunk at once: changing to the thread takes longer than both.
            opened = await asyncio.to_thread(self._open, request, digest, tag)
        headers = {
            **headers,
            "ETag": tag,
            "Cache-Control": "private, no-cache",
            "Accept-Ranges": "bytes",
        }
        if _is_known(request, tag):
            return ByteStream(_nothing(), status_code=HTTP_304_NOT_MODIFIED, headers=headers)
        # Litestar would take the handler's.
        headers["Content-Type"] = media_type
        headers["Content-Disposition"] = f'filename="{filename}"'
        headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"
        status = HTTP_200_OK
        part = opened.part
        if part is None:
            part = ByteRange(0, opened.size_bytes)
        else:
            status = HTTP_206_PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{opened.size_bytes}"
        headers["Content-Length"] = str(part.end - part.start)
        content = self._read_ahead(opened.first, opened.rest)
        return ByteStream(content, status_code=status, headers=headers)

    def _open(self, request: Request[UserT, object, State], digest: str, tag: str) -> _Opened:
        size_bytes = self._blobs.size(digest)
        if is_head(request) or _is_known(request, tag):
            return _Opened(size_bytes)
        part = _wanted_part(request, tag, size_bytes)
        share = BUDGET_BYTES // (2 * (self._under_way + 1))
        start, end = part or ByteRange(0, size_bytes)
        chunks = self._blobs.pieces(
            digest,
            piece_bytes=min(max(share, LEAST_CHUNK_BYTES), LARGEST_CHUNK_BYTES),
            offset=start,
            end=end,
        )
        return _Opened(size_bytes, part, next(chunks, b""), chunks)

    async def _read_ahead(self, chunk: Chunk, rest: Iterator[Chunk]) -> AsyncIterator[Chunk]:
        loop = asyncio.get_running_loop()
        self._under_way += 1
        try:
            while chunk:
                reading = loop.run_in_executor(None, next, rest, b"")
                try:
                    yield chunk
                    chunk = await reading
                finally:
                    reading.cancel()
        finally:
            self._under_way -= 1


def _accepted_format(request: Request[UserT, object, State]) -> ModelFormat:
    accepted = request.headers.get("accept", "").strip() or BINARY
    wants_tensors = Accept(accepted).best_match([BINARY, SAFETENSORS]) == SAFETENSORS
    return "safetensors" if wants_tensors else "original"


def _wanted_part(
    request: Request[UserT, object, State], tag: str, size_bytes: int
) -> ByteRange | None:
    # A date, or the tag of other bytes, does not match: then all of it is wanted.
    if request.headers.get("if-range", tag).strip() != tag:
        return None
    return requested_range(request.headers.get("range"), size_bytes)


def _is_known(request: Request[UserT, object, State], tag: str) -> bool:
    return names_tag(request.headers.get("if-none-match"), tag)


async def _nothing() -> AsyncIterator[Chunk]:
    yield b""


@contextmanager
def _replaced_meanwhile() -> Iterator[None]:
    try:
        yield
    except BlobNotFound as error:
        raise NothingHere("The file was replaced a moment ago. Ask again.") from error
