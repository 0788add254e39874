"""Metrics and deliveries of a simulation against its rounds, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from backend.simulation.course import RoundReport
from backend.simulation.tables import metric_names


def write_plot(title: str, reports: Sequence[RoundReport], paths: Sequence[Path]) -> None:
    """One panel per metric, of training and of test, and one of who delivered.

    Args:
        paths: The same picture in each; the suffix, .svg or .png, says the format.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    metrics = metric_names(
        [*(report.test for report in reports), *(report.training for report in reports)]
    )
    # No dates and no random ids: the same experiment gives the same file.
    with mpl.rc_context({"svg.hashsalt": title, "font.size": 9}):
        drawing = Figure(figsize=(7, 2.2 * (len(metrics) + 1)), layout="constrained")
        axes = drawing.subplots(len(metrics) + 1, 1, sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, metrics, strict=False):
            for part, style in (("training", "C1--"), ("test", "C0-")):
                found = [(each.round, getattr(each, part).get(name)) for each in reports]
                known = [(round, value) for round, value in found if value is not None]
                if known:
                    # A single round would be an invisible line.
                    axis.plot(*zip(*known, strict=True), style, marker=".", label=part)
            axis.set_ylabel(name)
            axis.grid(alpha=0.3)
            axis.legend()
        counts = {
            "delivered": [report.delivered for report in reports],
            "late": [report.late for report in reports],
            "dropped out": [report.dropped_out for report in reports],
        }
        numbers = [report.round for report in reports]
        axes[-1].stackplot(numbers, counts.values(), labels=list(counts), alpha=0.7)
        axes[-1].set(ylabel="participants", xlabel="round")
        axes[-1].legend(loc="lower right")
        drawing.suptitle(title)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            drawing.savefig(path, dpi=150, metadata=metadata)
