"""The folder that a simulation leaves behind, which says everything about it.

Every file but the summary is the same, byte for byte, in every run of the same experiment.
"""

import importlib.util
from importlib import metadata
from pathlib import Path
from typing import cast

import msgspec

from backend.errors import StartupError
from backend.simulation.course import Simulated
from backend.simulation.drawing import write_plot
from backend.simulation.experiment import Experiment
from backend.simulation.tables import (
    participants_table,
    participations_table,
    rounds_table,
    write_csv,
    write_parquet,
)
from compute.simulation.contract import Given

EXPERIMENT_TOML = "experiment.toml"
SHARES_JSON = "shares.json"
SUMMARY_JSON = "summary.json"
MODEL = "model.safetensors"
PLOTS = ("plot.svg", "plot.png")
_PACKAGES = ("torch", "ray", "numpy")


class CannotSave(StartupError):
    """A package that results are written with is not installed."""


def save_results(simulated: Simulated, folder: Path) -> dict[str, str]:
    """Write all that is known after the last round into `folder`, which is made if need be.

    Returns:
        Packages that are not installed, with what therefore is not written.

    Raises:
        CannotSave: the experiment cannot be written as TOML without tomli-w.
        ValueError: no round was simulated yet.
        OSError: the folder cannot be written to.
    """
    reports = simulated.reports
    if not reports:
        raise ValueError("No round was simulated yet: iterate over the simulation first.")
    require_toml()
    folder.mkdir(parents=True, exist_ok=True)
    simulated.save_model(folder / MODEL)
    _write_experiment(simulated, folder)
    _write_summary(simulated, folder / SUMMARY_JSON)
    tables = {
        "rounds": rounds_table(reports),
        "participations": participations_table(reports),
        "participants": participants_table(simulated.shares, reports),
    }
    missing = {}
    for name, table in tables.items():
        write_csv(table, folder / f"{name}.csv")
        if _is_installed("polars"):
            write_parquet(table, folder / f"{name}.parquet")
        else:
            missing["polars"] = "Parquet"
    if _is_installed("matplotlib"):
        write_plot(simulated.experiment.name, reports, [folder / name for name in PLOTS])
    else:
        missing["matplotlib"] = "plot"
    return missing


def require_toml() -> None:
    """Raises `CannotSave` before anything is simulated for nothing."""
    if not _is_installed("tomli_w"):
        raise CannotSave("Results need tomli-w: pip install 'starling-fl[simulate]'.")


def _write_experiment(simulated: Simulated, folder: Path) -> None:
    """With every default said, so that it can be run again from here."""
    experiment, partition = simulated.experiment, simulated.experiment.participants.partition
    if isinstance(partition, Given) and not simulated.is_custom:
        (folder / SHARES_JSON).write_bytes((simulated.folder / partition.file).read_bytes())
        experiment = _with_shares(experiment, SHARES_JSON)
    comment = "# Run it again: starling simulate experiment.toml\n"
    if simulated.is_custom:
        comment = "# The participants were given in Python: simulate(experiment, participants)\n"
    document = cast("dict[str, object]", _without_none(msgspec.to_builtins(experiment)))
    (folder / EXPERIMENT_TOML).write_bytes(comment.encode() + msgspec.toml.encode(document))


def _with_shares(experiment: Experiment, file: str) -> Experiment:
    participants = msgspec.structs.replace(experiment.participants, partition=Given(file=file))
    return msgspec.structs.replace(experiment, participants=participants)


def _without_none(value: object) -> object:
    """TOML has no null: what is not there is None."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return value


def _write_summary(simulated: Simulated, path: Path) -> None:
    """The experiment, how it ended, how long it took here, and with which versions."""
    last = simulated.reports[-1]
    wall = [report.wall_seconds for report in simulated.reports]
    summary = {
        "experiment": simulated.experiment,
        "rounds": len(simulated.reports),
        "outcome": last.outcome,
        "test": last.test,
        "simulated_seconds": last.ended_seconds,
        "first_round_wall_seconds": wall[0],
        "other_rounds_wall_seconds": sum(wall[1:]),
        "versions": {name: metadata.version(name) for name in ("starling-fl", *_PACKAGES)},
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
