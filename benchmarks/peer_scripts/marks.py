"""When rounds begin, and what had gone over the loopback interface by then."""

import json
import time
from itertools import pairwise
from pathlib import Path


def mark(file: Path) -> None:
    """Add that a round begins now; after the last round once more, for its end."""
    with file.open("a") as marks:
        # The clock is the system's: all processes may mark in one file.
        marks.write(f"{time.monotonic()} {loopback_bytes()}\n")


def loopback_bytes() -> int:
    """What the interface `lo` received since the machine started, headers included."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    raise LookupError("There is no loopback interface")


def steady_rounds(file: Path) -> str:
    """Seconds and bytes of each round but the first as JSON: {"seconds": […], "bytes": […]}."""
    marks = [line.split() for line in file.read_text().splitlines()]
    found = {}
    for column, name in enumerate(("seconds", "bytes")):
        steady = [float(mark[column]) for mark in marks[1:]]
        found[name] = [after - before for before, after in pairwise(steady)]
    return json.dumps(found)
