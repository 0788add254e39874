"""`just papers`: compute published results again, print them beside ours, write docs/papers.md."""

import argparse
import importlib
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Protocol

import torch
from rich.console import Console

from benchmarks.papers.findings import Paper, markdown, show

# Each is a module of this package.
PAPERS = {
    "fedprox": "FedProx and FedAvg on Synthetic(α, β) with stragglers",
    "feddc": "FedDC and FedAvg with two samples each",
    "calibration": "NLL and ECE of all uncertainty methods on shifted digits",
}
PAGE = Path(__file__).parent.parent.parent / "docs" / "papers.md"
_SECTION = re.compile(r"(<!-- paper: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_VERSIONS = ("torch", "numpy", "scikit-learn")


class Computes(Protocol):
    """What a module for a paper offers."""

    def compute(self) -> Paper:
        """All of it, seeded: the same figures on every run on the same kind of processor."""
        ...


def with_sections(page: str, papers: Sequence[Paper], made: str) -> str:
    """The page with each paper's section between its markers; others stay as they are."""
    by_name = {paper.name: paper for paper in papers}

    def filled(match: re.Match[str]) -> str:
        paper = by_name.get(match["name"])
        if paper is None:
            return match[0]
        return f"{match[1]}{markdown(paper)}\n{made}\n{match[3]}"

    return _SECTION.sub(filled, page)


def made_with(at: datetime) -> str:
    """When, and with which versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _VERSIONS)
    return f"{at:%Y-%m-%d} · Python {platform.python_version()}, {versions} · one core"


def main() -> None:
    """Compute one paper, or all."""
    parser = argparse.ArgumentParser(prog="just papers", description=__doc__)
    listed = "; ".join(f"{name}: {about}" for name, about in PAPERS.items())
    parser.add_argument("papers", nargs="*", metavar="PAPER", help=f"all by default; {listed}")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/papers.md")
    arguments = parser.parse_args()
    unknown = set(arguments.papers) - PAPERS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PAPERS)}")
    torch.set_num_threads(1)
    console, done = Console(), []
    for name in arguments.papers or PAPERS:
        paper: Computes = importlib.import_module(f"benchmarks.papers.{name}")
        done.append(paper.compute())
        show(done[-1], console)
    if arguments.write:
        PAGE.write_text(with_sections(PAGE.read_text(), done, made_with(datetime.now(UTC))))


if __name__ == "__main__":
    main()
