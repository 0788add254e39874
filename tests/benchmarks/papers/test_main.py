"""docs/papers.md has a section for every paper, which the program fills."""

import importlib
import re

from benchmarks.papers.__main__ import PAGE, PAPERS, with_sections
from benchmarks.papers.findings import Claim, Paper, markdown

PAPER = Paper(
    name="one",
    title="One",
    source="Somebody 2020.",
    setting="So.",
    claims=[Claim(published="better", ours="worse", holds=False, why="because")],
    headers=["a", "b"],
    figures=[["1", "2"]],
    seconds=1.2,
)


def test_a_section_is_filled_and_the_others_stay() -> None:
    page = "<!-- paper: one -->\nbefore\n<!-- end -->\n<!-- paper: two -->\nkept\n<!-- end -->\n"
    written = with_sections(page, [PAPER], "made now")
    assert "before" not in written
    assert "kept" in written
    assert "| better | worse | no | because |" in written
    assert "made now\n<!-- end -->" in written
    assert with_sections(written, [PAPER], "made now") == written


def test_every_row_has_as_many_cells_as_the_header() -> None:
    rows = [line for line in markdown(PAPER).splitlines() if line.startswith("|")]
    assert [row.count("|") for row in rows] == [5, 5, 5, 3, 3, 3]


def test_the_page_has_a_section_for_every_paper() -> None:
    found = re.findall(r"<!-- paper: (\w+) -->\n(.+?)\n<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in found] == list(PAPERS)
    for name, section in found:
        assert "| published | ours | holds | why they differ |" in section
        assert callable(importlib.import_module(f"benchmarks.papers.{name}").compute)
