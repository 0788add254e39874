"""Compressed bodies: whole in any pieces, and never more than was asked for."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from backend.content_coding import MAX_FRAMES, PIECE_BYTES, ZstdDecoder, decoder_of
from backend.errors import InvalidRequest, TooLarge, WrongMediaType

LIMIT_BYTES = 2**30


def decode(body: bytes, *, limit_bytes: int = LIMIT_BYTES, cuts: tuple[int, ...] = ()) -> bytes:
    decoder = ZstdDecoder(limit_bytes)
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [piece for a, b in pairwise(edges) for piece in decoder.decode(body[a:b])]
    decoder.end()
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    return b"".join(pieces)


@settings(deadline=None)
@given(
    frames=st.lists(st.binary(max_size=3000), max_size=4),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
)
def test_frames_in_any_pieces_give_the_bytes_that_went_in(
    frames: list[bytes], cuts: list[int]
) -> None:
    body = b"".join(zstd.compress(frame) for frame in frames)
    assert decode(body, cuts=tuple(cuts)) == b"".join(frames)


def test_a_large_body_comes_in_pieces() -> None:
    content = bytes(range(256)) * 40_000
    assert decode(zstd.compress(content)) == content


@settings(deadline=None)
@given(st.data())
def test_a_body_that_is_cut_off_is_refused(data: st.DataObject) -> None:
    body = zstd.compress(data.draw(st.binary(min_size=1, max_size=500)))
    cut = data.draw(st.integers(1, len(body) - 1))
    with pytest.raises(InvalidRequest, match="cut off"):
        decode(body[:cut])


@pytest.mark.parametrize("body", [b"no zstd at all", zstd.compress(b"x") + b"rubbish"])
def test_what_is_no_zstd_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not zstd"):
        decode(body)


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    bomb = zstd.compress(bytes(512 * 1024**2))
    assert len(bomb) < 100_000
    unfolded = 0

    def unfold() -> None:
        nonlocal unfolded
        for piece in ZstdDecoder(LIMIT_BYTES).decode(bomb):
            unfolded += len(piece)

    with pytest.raises(TooLarge, match="times its size"):
        unfold()
    assert unfolded < 80 * 1024**2


def test_more_than_the_limit_is_refused() -> None:
    body = zstd.compress(bytes(2000))
    assert decode(body, limit_bytes=2000) == bytes(2000)
    with pytest.raises(TooLarge, match="1999 bytes"):
        decode(body, limit_bytes=1999)


def test_a_window_larger_than_the_standard_asks_for_is_refused() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    body = zstd.ZstdCompressor(options=options)
    with pytest.raises(InvalidRequest, match="8 MiB"):
        decode(body.compress(bytes(1000)) + body.flush())


@pytest.mark.parametrize("header", ["", "identity", " Identity "])
def test_a_body_may_be_as_it_is(header: str) -> None:
    assert decoder_of(header, limit_bytes=1) is None


@pytest.mark.parametrize("header", ["gzip", "zstd, zstd", "br"])
def test_other_codings_are_refused(header: str) -> None:
    with pytest.raises(WrongMediaType, match="zstd"):
        decoder_of(header, limit_bytes=1)


def test_a_body_of_nothing_but_frames_is_refused() -> None:
    frames = zstd.compress(b"") * (MAX_FRAMES + 1)
    with pytest.raises(InvalidRequest, match="frames"):
        decode(frames)
