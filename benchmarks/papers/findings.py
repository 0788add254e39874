"""What came of computing a paper's results again: claims beside ours, printed and as Markdown."""

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table as Shown


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the paper says, and what we found.

    Attributes:
        holds: Whether ours points the same way.
        why: Why ours differs, or what it rests on.
    """

    published: str
    ours: str
    holds: bool
    why: str


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome for one paper.

    Attributes:
        source: The citation.
        setting: What was done, in a sentence or two.
        headers: Of the figures' columns.
        figures: All that was measured, row by row.
    """

    name: str
    title: str
    source: str
    setting: str
    claims: Sequence[Claim]
    headers: Sequence[str]
    figures: Sequence[Sequence[str]]
    seconds: float


_CLAIMS = ("published", "ours", "holds", "why they differ")


def markdown(paper: Paper) -> str:
    """The paper's section for docs/papers.md, without its heading."""
    claims = [(each.published, each.ours, _yes(each.holds), each.why) for each in paper.claims]
    return "\n\n".join(
        [
            f"{paper.source} {paper.setting}",
            _rows(_CLAIMS, claims),
            _rows(paper.headers, paper.figures),
            f"Took {paper.seconds:.0f} s.\n",
        ]
    )


def show(paper: Paper, console: Console) -> None:
    """Print both tables."""
    for title, headers, rows in (
        (
            paper.title,
            _CLAIMS,
            [(each.published, each.ours, _yes(each.holds), each.why) for each in paper.claims],
        ),
        (None, paper.headers, paper.figures),
    ):
        table = Shown(title=title, title_justify="left", title_style="bold", show_lines=True)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _rows(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"
