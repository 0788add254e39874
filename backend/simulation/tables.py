"""The figures of a simulation as tables, written as CSV and as Parquet."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from backend.simulation.course import Answer, RoundReport
from compute.simulation.contract import Share

Table = Mapping[str, Sequence[object]]
"""Columns by name, all of one length. Only columns of floats may have None: nothing is known."""

_ROUND_COLUMNS = (
    "round",
    "outcome",
    "drawn",
    "delivered",
    "dropped_out",
    "late",
    "needed",
    "extended",
    "started_seconds",
    "ended_seconds",
    "samples",
)


def rounds_table(reports: Sequence[RoundReport]) -> Table:
    """One row per round: counts, simulated times, and metrics as `training_…` and `test_…`."""
    columns: dict[str, list[object]] = {
        name: [getattr(report, name) for report in reports] for name in _ROUND_COLUMNS
    }
    for name in metric_names(report.training for report in reports):
        columns[f"training_{name}"] = [report.training.get(name) for report in reports]
    for name in metric_names(report.test for report in reports):
        columns[f"test_{name}"] = [report.test.get(name) for report in reports]
    return columns


def participations_table(reports: Sequence[RoundReport]) -> Table:
    """One row per round and participant that was drawn for it: what became of it, and when."""
    rows = [(report.round, each) for report in reports for each in report.participations]
    return {
        "round": [round for round, _ in rows],
        "participant": [each.participant for _, each in rows],
        "answer": [each.answer for _, each in rows],
        "after_seconds": [each.after_seconds for _, each in rows],
    }


def participants_table(shares: Sequence[Share], reports: Sequence[RoundReport]) -> Table:
    """One row per participant: its samples, of each class too, and what became of it how often."""
    counts = {answer: [0] * len(shares) for answer in Answer}
    drawn = [0] * len(shares)
    for report in reports:
        for each in report.participations:
            counts[each.answer][each.participant] += 1
            drawn[each.participant] += 1
    columns: dict[str, list[object]] = {
        "participant": [*range(len(shares))],
        "samples": [share.samples for share in shares],
        "drawn": [*drawn],
    }
    for answer, by_participant in counts.items():
        columns[answer.value] = [*by_participant]
    by_class = [share.classes or [] for share in shares]
    for label in range(max(map(len, by_class), default=0)):
        columns[f"class_{label}"] = [classes[label] for classes in by_class]
    return columns


def write_csv(table: Table, path: Path) -> None:
    """Booleans as `true` and `false`, nothing where nothing is known."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(table)
        for row in zip(*table.values(), strict=True):
            rows.writerow([_plain(value) for value in row])


def write_parquet(table: Table, path: Path) -> None:
    """The same columns, typed.

    Raises:
        ImportError: polars is not installed.
    """
    # Not pyarrow: where that is installed, Ray loads it into every process, 40 MiB each.
    import polars as pl

    columns = [
        # A column of nothing but None would have no type.
        pl.Series(name, values, dtype=pl.Float64 if None in values else None, strict=False)
        for name, values in table.items()
    ]
    pl.DataFrame(columns).write_parquet(path)


def metric_names(metrics: Iterable[dict[str, float]]) -> list[str]:
    """In the order in which they first appear."""
    return list(dict.fromkeys(name for each in metrics for name in each))


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
