"""What is written says what happened, and the same in every format."""

import csv
import sys
from io import StringIO
from pathlib import Path

import msgspec
import polars as pl
import pytest
from rich.console import Console

from backend.simulation import Experiment, Simulated, save_results, simulate
from backend.simulation.commands import _Shown
from backend.simulation.course import Outcome
from backend.simulation.results import CannotSave, require_toml
from tests.compute.simulation.federations import shifting

TABLES = ("rounds", "participations", "participants")


def simulated(folder: Path, **changes: object) -> Simulated:
    """Twenty participants of one's own, some late, some never; written into `folder`."""
    document = {
        "rounds": 6,
        "participants": {
            "count": 20,
            "response": {"kind": "uniform", "least_seconds": 0, "most_seconds": 100},
            "drop_outs": {"probability": 0.2},
        },
        "options": {"cohort": 0.5, "quorum": 1, "round_deadline_seconds": 60},
        **changes,
    }
    participants = shifting([[float(number)] for number in range(20)])
    experiment = msgspec.convert(document, Experiment)
    with simulate(experiment, participants, workers=0) as run:
        for _ in run:
            pass
        assert save_results(run, folder) == {}
    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_each_participation_is_a_row(tmp_path: Path) -> None:
    run = simulated(tmp_path)

    found = rows(tmp_path / "participations.csv")

    for report in run.reports:
        of_round = [row for row in found if row["round"] == str(report.round)]
        assert len(of_round) == report.drawn == 10
        for answer in ("delivered", "late", "dropped_out"):
            count = sum(row["answer"] == answer for row in of_round)
            assert count == getattr(report, answer)
        ended = report.ended_seconds - report.started_seconds
        for row in of_round:
            if row["answer"] == "dropped_out":
                assert row["after_seconds"] == ""
            else:
                assert (float(row["after_seconds"]) > ended) == (row["answer"] == "late")
    assert {row["answer"] for row in found} == {"delivered", "late", "dropped_out"}


def test_participants_add_up_to_the_participations(tmp_path: Path) -> None:
    simulated(tmp_path)
    participations = rows(tmp_path / "participations.csv")
    people = rows(tmp_path / "participants.csv")
    assert [row["participant"] for row in people] == [str(number) for number in range(20)]
    for row in people:
        mine = [each for each in participations if each["participant"] == row["participant"]]
        assert int(row["drawn"]) == len(mine)
        for answer in ("delivered", "late", "dropped_out"):
            assert int(row[answer]) == sum(each["answer"] == answer for each in mine)


@pytest.mark.parametrize("table", TABLES)
def test_parquet_has_the_columns_and_rows_of_the_csv(tmp_path: Path, table: str) -> None:
    simulated(tmp_path)
    from_csv = rows(tmp_path / f"{table}.csv")
    from_parquet = pl.read_parquet(tmp_path / f"{table}.parquet")
    assert from_parquet.columns == list(from_csv[0])
    as_text = [
        {
            name: "" if value is None else str(value).lower() if value in (True, False) else value
            for name, value in row.items()
        }
        for row in from_parquet.to_dicts()
    ]
    assert [{name: str(value) for name, value in row.items()} for row in as_text] == from_csv


def test_a_round_in_which_nobody_answers_is_written_too(tmp_path: Path) -> None:
    run = simulated(
        tmp_path, participants={"count": 20, "drop_outs": {"probability": 1.0}}, rounds=1
    )
    assert run.reports[-1].outcome is Outcome.GIVEN_UP
    table = pl.read_parquet(tmp_path / "participations.parquet")
    assert table.schema["after_seconds"] == pl.Float64
    assert table["after_seconds"].null_count() == 10


def test_the_experiment_says_its_seed_and_what_only_python_knows(tmp_path: Path) -> None:
    run = simulated(tmp_path)
    text = (tmp_path / "experiment.toml").read_text()
    assert "given in Python" in text.splitlines()[0]
    assert "seed = 0" in text
    assert msgspec.toml.decode(text, type=Experiment) == run.experiment


def test_nothing_is_saved_before_a_round_was_simulated(tmp_path: Path) -> None:
    participants = shifting([[1.0]])
    experiment = msgspec.convert({"rounds": 1, "participants": {"count": 1}}, Experiment)
    with (
        simulate(experiment, participants, workers=0) as run,
        pytest.raises(ValueError, match="iterate"),
    ):
        save_results(run, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_is_not_installed_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = simulated(tmp_path / "all")
    for package in ("polars", "matplotlib"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    assert save_results(run, tmp_path / "few") == {"polars": "Parquet", "matplotlib": "plot"}
    suffixes = {path.suffix for path in (tmp_path / "few").iterdir()}
    assert suffixes == {".csv", ".json", ".safetensors", ".toml"}


def test_without_toml_nothing_is_simulated_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    with pytest.raises(CannotSave, match="starling-fl\\[simulate\\]"):
        require_toml()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_bar_is_for_terminals_only(tmp_path: Path, is_terminal: bool) -> None:
    run = simulated(tmp_path)
    shown_to = StringIO()
    with _Shown(Console(file=shown_to, force_terminal=is_terminal, width=100), 6) as shown:
        for report in run.reports:
            shown.follow(report)
    text = shown_to.getvalue()
    assert ("\x1b[" in text) == is_terminal
    assert ("6/6" in text) == is_terminal
    assert ("round 6 of 6" in text) != is_terminal
