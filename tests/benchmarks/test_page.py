from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.measurement import Series
from benchmarks.page import plot, with_tables
from benchmarks.report import figure, report

PAGE = """# Performance
<!-- table: aggregate -->
before
<!-- end -->
between
<!-- table: robust -->
stays
<!-- end -->
"""


def test_a_table_replaces_what_its_markers_hold_and_nothing_else() -> None:
    row = figure("fold", "s", Series((0.5,)), ratio_name="of it", ratio=0.25, at_least=0.7)
    page = with_tables(PAGE, [report("aggregate", "Aggregation", [row])])

    assert "| fold | 0.5 (0.5–0.5) s |  | 0.25 of it | ≥ 0.7 | **not met** |" in page
    assert "before" not in page
    assert page.endswith("between\n<!-- table: robust -->\nstays\n<!-- end -->\n")
    assert page.startswith("# Performance\n<!-- table: aggregate -->\n")


def test_a_plot_has_a_line_for_ours_and_for_what_stands_beside_it(tmp_path: Path) -> None:
    rows = [
        figure(
            "turnaround", "s", Series((0.1, 0.2)), beside_name="floor", beside=Series((0.1, 0.1)),
            participants=count, parameters=1_200_000,
        )
        for count in (2, 10, 50)
    ]  # fmt: skip
    path = tmp_path / "plots" / "turnaround.svg"
    plot(report("turnaround", "Turnaround", rows), "participants", "participants", path)

    drawn = path.read_text()
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - our own file
    assert "Starling, 1,200,000 parameters" in drawn
    assert "floor, 1,200,000 parameters" in drawn
