"""Put the last results into docs/performance.md, as tables and plots."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure as Drawing

from benchmarks.report import RESULTS, Figure, Report

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_TABLE = re.compile(r"(<!-- table: (?P<question>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(found: Report) -> str:
    """A report as Markdown."""
    lines = [
        "| what | ours | beside | ratio | target | |",
        "|---|---|---|---|---|---|",
        *(_row(figure) for figure in found.figures),
        "",
        *(f"- {note}" for note in found.notes),
        f"- {found.at:%Y-%m-%d %H:%M} UTC · {_described(found)}",
    ]
    return "\n".join(lines) + "\n"


def with_tables(page: str, reports: Sequence[Report]) -> str:
    """The page with each report's table between its markers; others stay as they are."""
    by_question = {found.question: found for found in reports}

    def filled(match: re.Match[str]) -> str:
        found = by_question.get(match["question"])
        return match[0] if found is None else f"{match[1]}{table(found)}{match[3]}"

    return _TABLE.sub(filled, page)


def plot(found: Report, axis: str, label: str, path: Path, *, of: str = "") -> None:
    """Cost against `axis` (a field of `Figure`), ours and what stands beside it, as an SVG.

    Args:
        of: How the rows that are drawn begin.
    """
    points = [
        each
        for each in found.figures
        if each.what.startswith(of) and getattr(each, axis) is not None and each.beside is not None
    ]
    with mpl.rc_context({"svg.hashsalt": found.question, "svg.fonttype": "none", "font.size": 9}):
        drawing = Drawing(figsize=(6.4, 4.6), layout="constrained")
        axes = drawing.subplots()
        lines = _series(points, axis)
        for name, low, middle, high in lines:
            along = [x for x, _ in middle]
            axes.plot(along, [y for _, y in middle], marker="o", label=name)
            axes.fill_between(along, low, high, alpha=0.2)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel=points[0].unit)
        axes.set_title(found.title)
        axes.grid(visible=True, which="both", alpha=0.3)
        places = sorted({place for _, _, middle, _ in lines for place, _ in middle})
        axes.set_xticks(places, [_number(place) for place in places])
        axes.set_xticks([], minor=True)
        drawing.legend(loc="outside lower center")
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        drawing.savefig(path, metadata=metadata)


def _series(
    points: Sequence[Figure], axis: str
) -> list[tuple[str, list[float], list[tuple[float, float]], list[float]]]:
    """Name, least, (place, median) and greatest of every line; the other axis tells lines apart."""
    other = "parameters" if axis == "participants" else "participants"
    lines: dict[str, dict[float, tuple[float, float, float]]] = {}
    for each in points:
        fixed = getattr(each, other)
        setting = "" if fixed is None else f", {_number(fixed)} {other}"
        place = float(getattr(each, axis))
        # Of several rows at one place the first is what the question is about.
        ours = (each.ours_low, each.ours, each.ours_high)
        lines.setdefault(f"Starling{setting}", {}).setdefault(place, ours)
        if each.beside is not None and each.beside_low is not None and each.beside_high is not None:
            beside = (each.beside_low, each.beside, each.beside_high)
            lines.setdefault(f"{each.beside_name}{setting}", {}).setdefault(place, beside)
    drawn = []
    for name, by_place in lines.items():
        if len(by_place) < 2:
            continue
        rows = sorted(by_place.items())
        drawn.append(
            (
                name,
                [low for _, (low, _, _) in rows],
                [(place, middle) for place, (_, middle, _) in rows],
                [high for _, (_, _, high) in rows],
            )
        )
    return drawn


def _row(each: Figure) -> str:
    ours = f"{_number(each.ours)} ({_number(each.ours_low)}–{_number(each.ours_high)}) {each.unit}"
    beside = ""
    if each.beside is not None and each.beside_low is not None and each.beside_high is not None:
        spread = f"{_number(each.beside_low)}–{_number(each.beside_high)}"
        beside = f"{each.beside_name}: {_number(each.beside)} ({spread}) {each.unit}"
    ratio = "" if each.ratio is None else f"{_number(each.ratio)} {each.ratio_name or ''}".strip()
    met = "" if each.met is None else ("met" if each.met else "**not met**")
    return f"| {each.what} | {ours} | {beside} | {ratio} | {each.target or ''} | {met} |"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _described(found: Report) -> str:
    machine = found.machine
    versions = ", ".join(
        f"{name} {version}"
        for name, version in found.versions.items()
        if name in {"torch", "ray", "litestar", "uvicorn"}
    )
    return (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, "
        f"load {machine['load_before']} · Python {machine['python']}, {versions}"
    )


def main() -> None:
    """Write tables and plots from the JSON in a folder."""
    parser = argparse.ArgumentParser(prog="just bench-page", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON")
    folder: Path = parser.parse_args().results
    reports = [
        msgspec.json.decode(path.read_bytes(), type=Report)
        for path in sorted(folder.glob("*.json"))
    ]
    PAGE.write_text(with_tables(PAGE.read_text(), reports))
    plots = PAGE.parent / "performance"
    for found in reports:
        if found.question == "turnaround":
            plot(found, "participants", "participants", plots / "turnaround.svg")
            path = plots / "turnaround-size.svg"
            plot(found, "parameters", "parameters", path, of="2 × ")
        if found.question == "aggregate":
            path = plots / "aggregate.svg"
            plot(found, "participants", "updates", path, of="whole aggregation")


if __name__ == "__main__":
    main()
