"""What the peers' scripts share with ours."""

import json
from pathlib import Path

import pytest

from benchmarks import limits, peers
from benchmarks.peer_scripts.marks import loopback_bytes, mark, steady_rounds


def test_the_first_round_counts_for_nobody(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.write_text("10.0 1000\n14.0 5000\n15.5 6000\n18.0 6500\n")
    assert json.loads(steady_rounds(marks)) == {"seconds": [1.5, 2.5], "bytes": [1000, 500]}


def test_marks_count_what_goes_over_loopback(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    mark(marks)
    before = loopback_bytes()
    limits.loopback_seconds(3_000_001)
    mark(marks)
    assert loopback_bytes() - before >= 3_000_001
    at, counted = zip(*(line.split() for line in marks.read_text().splitlines()), strict=True)
    assert float(at[0]) <= float(at[1])
    assert int(counted[1]) - int(counted[0]) >= 3_000_001


@pytest.mark.parametrize("peer", ["flower", "nvflare"])
def test_peers_are_pinned(peer: peers.Peer) -> None:
    named = peers.requirements(peer).split(", ")
    assert len(named) == 2
    assert all("==" in requirement for requirement in named)
