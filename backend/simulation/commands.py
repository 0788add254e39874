"""`starling simulate`: rehearses a training with virtual participants, from the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from backend.errors import StartupError
from backend.settings import load_settings
from backend.simulation import results
from backend.simulation.course import Outcome, RoundReport, simulate
from backend.simulation.experiment import load_experiment
from compute.simulation.contract import SimulationFailed

_SHOWN_WITHOUT_TERMINAL = 20


class CannotSimulate(StartupError):
    """The simulation ended before its last round, or could not begin."""


@click.command(name="simulate")
@click.argument(
    "experiment_file",
    metavar="EXPERIMENT.toml",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results.  [default: the experiment's name, beside its file]",
)
@click.option(
    "--workers",
    type=click.IntRange(0, 10_000),
    help="How many Ray workers; 0: none, all in this process.  [default: one per CPU]",
)
def simulate_command(experiment_file: Path, out: Path | None, workers: int | None) -> None:
    """Rehearse a training with virtual participants on Ray.

    RAY_ADDRESS says which cluster; without it one is started on this machine. The same experiment
    gives the same results, whatever the number of workers.
    """
    experiment = load_experiment(experiment_file)
    results.require_toml()
    folder = out or experiment_file.parent / experiment_file.stem
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{experiment.participants.count} participants, {experiment.rounds} rounds of "
        f"{experiment.aggregation_method}"
    )
    try:
        with simulate(
            experiment,
            ray_address=load_settings({}).compute.ray_address,
            workers=workers,
            folder=experiment_file.parent,
        ) as simulated:
            with _Shown(console, experiment.rounds) as shown:
                for report in simulated:
                    shown.follow(report)
            missing = results.save_results(simulated, folder)
    except (SimulationFailed, ConnectionError) as error:
        raise CannotSimulate(str(error)) from error
    except OSError as error:
        raise CannotSimulate(f"Results cannot be written: {error.strerror}.") from error
    _conclude(console, simulated.reports, folder)
    for package, files in missing.items():
        console.print(
            f"Without {package} there is no {files}: pip install 'starling-fl[simulate]'.",
            markup=False,
        )
    last = simulated.reports[-1]
    if last.outcome is Outcome.GIVEN_UP:
        raise CannotSimulate(
            f"Round {last.round} was given up, as a server would: {last.delivered} of at least "
            f"{last.needed} participants delivered before the deadline, which had been extended "
            "once. Lower options.quorum or raise options.round_deadline_seconds."
        )


class _Shown:
    """A progress bar on a terminal; a line now and then anywhere else."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console = console
        self._rounds = rounds
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("Rounds", total=rounds, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def follow(self, report: RoundReport) -> None:
        """Show that a round has ended."""
        figures = _figures(report.test) or _figures(report.training)
        self._progress.update(self._task, completed=report.round + 1, figures=figures)
        often = max(1, self._rounds // _SHOWN_WITHOUT_TERMINAL)
        is_shown = (report.round + 1) % often == 0 or report.round + 1 == self._rounds
        if not self._console.is_terminal and is_shown:
            self._console.print(
                f"round {report.round + 1} of {self._rounds}: {report.delivered} of "
                f"{report.drawn} delivered, {figures}"
            )


def _conclude(console: Console, reports: Sequence[RoundReport], folder: Path) -> None:
    last = reports[-1]
    table = Table(show_header=False, box=None)
    table.add_row("rounds", str(len(reports)))
    table.add_row("delivered", _share(reports, "delivered"))
    table.add_row("late", _share(reports, "late"))
    table.add_row("dropped out", _share(reports, "dropped_out"))
    table.add_row("simulated time", f"{last.ended_seconds:,.0f} s")
    wall = [report.wall_seconds for report in reports]
    if len(wall) > 1:
        table.add_row("rounds per second", f"{(len(wall) - 1) / sum(wall[1:]):.1f} (but the first)")
    if last.test:
        table.add_row("test", _figures(last.test))
    console.print(table)
    console.print(f"Results are in {folder}")


def _share(reports: Sequence[RoundReport], field: str) -> str:
    count = sum(getattr(report, field) for report in reports)
    return f"{count} of {sum(report.drawn for report in reports)}"


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
