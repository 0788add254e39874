"""Bodies that arrive compressed: decoded while they stream, within bounds.

A body of a few kilobytes may unfold to any size. So output is produced in pieces, a decoder takes
no more than 8 MiB of history (RFC 9659 lets nobody need more), and a body that unfolds much more
than weights ever do is refused before it fills the disk.
"""

import sys
from collections.abc import Iterator
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from backend.errors import InvalidRequest, TooLarge, WrongMediaType

ZSTD = "zstd"
IDENTITY = "identity"
PIECE_BYTES = 1024**2
WINDOW_LOG_MAX = 23
# Weights shrink by less than a tenth, sparse differences by more; a bomb by tens of thousands.
MAX_EXPANSION = 32
SLACK_BYTES = 64 * 1024**2
# Each takes a new decoder; a body of empty frames would keep a thread busy with nothing else.
MAX_FRAMES = 1024


class Decoder(Protocol):
    """Turns the bytes of a body into those they stand for. Used by one thread at a time."""

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """What can be decoded now. Raises `InvalidRequest` or `TooLarge`."""
        ...

    def end(self) -> None:
        """Raises `InvalidRequest` when bytes are missing."""


def decoder_of(header: str, *, limit_bytes: int) -> Decoder | None:
    """The decoder that a `Content-Encoding` header asks for; None: the bytes are as they are.

    Args:
        limit_bytes: Largest decoded body.

    Raises:
        WrongMediaType: it names a coding that is not taken, or several.
    """
    coding = header.strip().lower()
    if coding in {"", IDENTITY}:
        return None
    if coding != ZSTD:
        raise WrongMediaType(
            f"Content-Encoding: {coding[:40]!r} is not taken here; send {ZSTD}, or none."
        )
    return ZstdDecoder(limit_bytes)


class ZstdDecoder:
    """Zstandard (RFC 8878), one frame or several."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._given_bytes = 0
        self._frames = 0
        self._frame = _new_frame()
        # A body of no frames at all stands for nothing, and ends as it should.
        self._is_between_frames = True

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        self._taken_bytes += len(chunk)
        rest = chunk
        while rest or not self._frame.needs_input:
            if self._frame.eof:
                rest = self._frame.unused_data + rest
                self._frame = _new_frame()
                self._is_between_frames = True
                self._frames += 1
                if self._frames > MAX_FRAMES:
                    raise InvalidRequest(
                        f"Content-Encoding: a body may have at most {MAX_FRAMES} zstd frames."
                    )
                if not rest:
                    return
            self._is_between_frames = False
            try:
                piece = self._frame.decompress(rest, max_length=PIECE_BYTES)
            except zstd.ZstdError as error:
                raise InvalidRequest(
                    f"Content-Encoding: this is not zstd with a window of at most 8 MiB: {error}."
                ) from error
            rest = b""
            if piece:
                self._count(len(piece))
                yield piece

    def end(self) -> None:
        if not (self._is_between_frames or self._frame.eof):
            raise InvalidRequest("Content-Encoding: the zstd body is cut off.")

    def _count(self, given_bytes: int) -> None:
        self._given_bytes += given_bytes
        if self._given_bytes > self._limit_bytes:
            raise TooLarge(
                f"The body unfolds to more than the {self._limit_bytes} bytes that this server "
                "takes."
            )
        if self._given_bytes > SLACK_BYTES + MAX_EXPANSION * self._taken_bytes:
            raise TooLarge(
                f"The body unfolds to more than {MAX_EXPANSION} times its size; send it "
                "without Content-Encoding."
            )


def _new_frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    )
