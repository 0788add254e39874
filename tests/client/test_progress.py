"""Bars where somebody looks, and nothing elsewhere."""

import io
import sys

import pytest
from starling_client.progress import LEAST_BYTES, TransferBar


class Terminal(io.StringIO):
    """What a terminal is to a program."""

    def isatty(self) -> bool:
        return True


def drawn(size_bytes: int) -> str:
    with TransferBar("Global model", size_bytes) as bar:
        bar.reach(size_bytes)
    assert isinstance(sys.stderr, io.StringIO)
    return sys.stderr.getvalue()


@pytest.mark.parametrize(
    ("stream", "size_bytes", "draws"),
    [
        pytest.param(Terminal(), LEAST_BYTES, True, id="large-on-a-terminal"),
        pytest.param(Terminal(), LEAST_BYTES - 1, False, id="small"),
        pytest.param(io.StringIO(), LEAST_BYTES, False, id="no-terminal"),
    ],
)
def test_a_bar_is_drawn_for_what_is_large_and_looked_at(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, size_bytes: int, draws: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    assert ("Global model" in drawn(size_bytes)) is draws
