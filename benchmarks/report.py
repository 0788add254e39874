"""What a benchmark found: printed as a table, and written as JSON with versions and machine."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.measurement import Series

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("litestar", "uvicorn", "piccolo", "ray", "torch", "safetensors", "msgspec", "httpx")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One row: our median beside the median of a peer or a limit that ran in turns with it.

    Attributes:
        what: What was measured, with its setting: "fold float64, 10 × 25 M".
        unit: Of `ours` and `beside`: "s", "MiB", "ms", "requests/s".
        ours: Median, with `ours_low` and `ours_high` the least and the greatest.
        beside_name: The peer or the limit; None where the target is absolute.
        ratio: What the target is about; how it is taken is for `ratio_name` to say.
        target: As performance.md states it, for example "≥ 0.7"; None where there is none.
        met: Whether `ratio` (or `ours`, where there is no ratio) meets the target.
        participants: K of the row, where it has one; parameters: P of it. Plots take them as axes.
    """

    what: str
    participants: int | None = None
    parameters: int | None = None
    unit: str
    ours: float
    ours_low: float
    ours_high: float
    beside_name: str | None = None
    beside: float | None = None
    beside_low: float | None = None
    beside_high: float | None = None
    ratio_name: str | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one question.

    Attributes:
        notes: What a reader must know to read the figures: thread counts, versions of peers.
    """

    question: str
    title: str
    figures: list[Figure]
    notes: list[str]
    at: datetime
    machine: dict[str, str | int | float]
    versions: dict[str, str]


def report(question: str, title: str, figures: list[Figure], *notes: str) -> Report:
    """A report of now, on this machine."""
    return Report(
        question=question,
        title=title,
        figures=figures,
        notes=list(notes),
        at=datetime.now(UTC),
        machine=_machine(),
        versions=_versions(),
    )


def figure(
    what: str,
    unit: str,
    ours: Series,
    *,
    beside_name: str | None = None,
    beside: Series | None = None,
    ratio_name: str | None = None,
    ratio: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    participants: int | None = None,
    parameters: int | None = None,
) -> Figure:
    """A row of a report; the bound holds for `ratio`, or for the median where there is none."""
    judged = ours.median if ratio is None else ratio
    target, met = None, None
    if at_least is not None:
        target, met = f"≥ {at_least:g}", judged >= at_least
    if at_most is not None:
        target, met = f"≤ {at_most:g}", judged <= at_most
    return Figure(
        what=what,
        participants=participants,
        parameters=parameters,
        unit=unit,
        ours=ours.median,
        ours_low=ours.low,
        ours_high=ours.high,
        beside_name=beside_name,
        beside=beside.median if beside else None,
        beside_low=beside.low if beside else None,
        beside_high=beside.high if beside else None,
        ratio_name=ratio_name,
        ratio=ratio,
        target=target,
        met=met,
    )


def publish(found: Report, folder: Path = RESULTS) -> Path:
    """Print a report and write it to `folder`; the file's path."""
    table = Table(title=found.title, title_justify="left", title_style="bold")
    for heading in ("what", "ours (least–greatest)", "beside", "", "ratio", "target", ""):
        table.add_column(heading, overflow="fold")
    for row in found.figures:
        ours = _spread(row.ours, row.ours_low, row.ours_high, row.unit)
        beside = (
            ""
            if row.beside is None or row.beside_low is None or row.beside_high is None
            else _spread(row.beside, row.beside_low, row.beside_high, row.unit)
        )
        ratio = "" if row.ratio is None else f"{row.ratio:.3g} {row.ratio_name or ''}".strip()
        met = "" if row.met is None else ("met" if row.met else "NOT met")
        table.add_row(row.what, ours, row.beside_name or "", beside, ratio, row.target or "", met)
    console = Console()
    console.print(table)
    for note in found.notes:
        console.print(f"- {note}", markup=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found.question}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    console.print(f"Written to {path}", markup=False)
    return path


def _spread(median: float, low: float, high: float, unit: str) -> str:
    return f"{median:.3g} ({low:.3g}–{high:.3g}) {unit}"


def _machine() -> dict[str, str | int | float]:
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # the aggregate benchmark also runs where only torch is
    return found
