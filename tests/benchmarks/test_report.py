from pathlib import Path

import msgspec
import pytest

from benchmarks.measurement import Series
from benchmarks.report import Report, figure, publish, report

OURS = Series((1.0, 2.0, 3.0))
LIMIT = Series((4.0, 4.0, 5.0))


@pytest.mark.parametrize(
    ("ratio", "at_least", "at_most", "target", "met"),
    [
        (0.7, 0.7, None, "≥ 0.7", True),
        (0.69, 0.7, None, "≥ 0.7", False),
        (1.5, None, 1.5, "≤ 1.5", True),
        (1.51, None, 1.5, "≤ 1.5", False),
        (1.0, None, None, None, None),
        (None, None, 2.0, "≤ 2", True),
        (None, None, 1.9, "≤ 1.9", False),
    ],
)
def test_the_bound_judges_the_ratio_or_else_the_median(
    ratio: float | None,
    at_least: float | None,
    at_most: float | None,
    target: str | None,
    met: bool | None,
) -> None:
    row = figure("fold", "s", OURS, ratio=ratio, at_least=at_least, at_most=at_most)
    assert (row.target, row.met) == (target, met)


def test_a_report_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = figure(
        "fold",
        "s",
        OURS,
        beside_name="limit",
        beside=LIMIT,
        ratio_name="of it",
        ratio=0.5,
        at_least=0.7,
    )
    path = publish(report("aggregate", "Aggregation", [row], "one thread"), tmp_path / "new")

    read = msgspec.json.decode(path.read_bytes(), type=Report)
    assert path.name == "aggregate.json"
    assert (read.figures, read.notes) == ([row], ["one thread"])
    assert {"cores", "cpu", "python", "load_before"} <= read.machine.keys()
    assert {"torch", "ray", "litestar"} <= read.versions.keys()
    printed = capsys.readouterr().out
    assert "NOT met" in printed
    assert "one thread" in printed
