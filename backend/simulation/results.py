"""What a simulation leaves behind: CSV files, a summary and, if wanted, a plot.

Every file but the summary is the same, byte for byte, in every run of the same experiment.
"""

import csv
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from backend.errors import StartupError
from backend.simulation.course import RoundReport
from backend.simulation.experiment import Experiment
from compute.simulation.contract import Share

ROUNDS_CSV = "rounds.csv"
PARTICIPANTS_CSV = "participants.csv"
SUMMARY_JSON = "summary.json"
MODEL = "model.safetensors"
PLOT = "rounds.svg"
_COLUMNS = (
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
_PACKAGES = ("torch", "ray", "numpy")


class CannotPlot(StartupError):
    """matplotlib is not installed."""


def write_rounds(folder: Path, reports: Sequence[RoundReport]) -> None:
    """One row per round: counts, simulated times, and metrics as `training_…` and `test_…`."""
    training = _names(report.training for report in reports)
    test = _names(report.test for report in reports)
    header = [*_COLUMNS, *(f"training_{name}" for name in training), *(f"test_{n}" for n in test)]
    with (folder / ROUNDS_CSV).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        for report in reports:
            table.writerow(
                [
                    *(_plain(getattr(report, column)) for column in _COLUMNS),
                    *(report.training.get(name, "") for name in training),
                    *(report.test.get(name, "") for name in test),
                ]
            )


def write_participants(
    folder: Path, shares: Sequence[Share], reports: Sequence[RoundReport]
) -> None:
    """One row per participant: its samples, of each class too, and how often it delivered."""
    delivered = [0] * len(shares)
    for report in reports:
        for member in report.members:
            delivered[member] += 1
    classes = max((len(share.classes or ()) for share in shares), default=0)
    with (folder / PARTICIPANTS_CSV).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ["participant", "samples", "delivered", *(f"class_{label}" for label in range(classes))]
        )
        for number, share in enumerate(shares):
            table.writerow([number, share.samples, delivered[number], *(share.classes or ())])


def write_summary(folder: Path, experiment: Experiment, reports: Sequence[RoundReport]) -> None:
    """The experiment, how it ended, how long it took here, and with which versions."""
    wall = [report.wall_seconds for report in reports]
    summary = {
        "experiment": experiment,
        "rounds": len(reports),
        "outcome": reports[-1].outcome,
        "test": reports[-1].test,
        "simulated_seconds": reports[-1].ended_seconds,
        "first_round_wall_seconds": wall[0],
        "other_rounds_wall_seconds": sum(wall[1:]),
        "versions": {name: metadata.version(name) for name in ("starling-fl", *_PACKAGES)},
    }
    (folder / SUMMARY_JSON).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2))


def require_plotting() -> None:
    """Raises `CannotPlot` before anything is simulated for nothing."""
    try:
        import matplotlib.figure  # noqa: F401 - only to see whether it is there
    except ImportError as error:
        raise CannotPlot("--plot needs matplotlib: pip install 'starling-fl[simulate]'.") from error


def write_plot(folder: Path, title: str, reports: Sequence[RoundReport]) -> None:
    """Metrics against rounds, one panel each, and who delivered, as an SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = _names(report.test for report in reports)
    # No dates and no random ids: the same experiment gives the same file.
    with mpl.rc_context({"svg.hashsalt": title, "font.size": 9}):
        drawing = Figure(figsize=(7, 2.2 * (len(panels) + 1)), layout="constrained")
        axes = drawing.subplots(len(panels) + 1, 1, sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, panels, strict=False):
            tested = [report for report in reports if name in report.test]
            axis.plot([each.round for each in tested], [each.test[name] for each in tested])
            axis.set_ylabel(f"test {name}")
            axis.grid(alpha=0.3)
        numbers = [report.round for report in reports]
        counts = {
            "delivered": [report.delivered for report in reports],
            "late": [report.late for report in reports],
            "dropped out": [report.dropped_out for report in reports],
        }
        axes[-1].stackplot(numbers, counts.values(), labels=list(counts), alpha=0.7)
        axes[-1].set(ylabel="participants", xlabel="round")
        axes[-1].legend(loc="lower right")
        drawing.suptitle(title)
        drawing.savefig(folder / PLOT, format="svg", metadata={"Date": None})


def _names(metrics: Iterable[dict[str, float]]) -> list[str]:
    """In the order in which they first appear."""
    return list(dict.fromkeys(name for each in metrics for name in each))


def _plain(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
