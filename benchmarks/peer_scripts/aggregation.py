"""Times a peer's aggregation of updates in memory, and what it takes on top of them."""

import argparse
import ctypes
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from layers import shapes

Update = dict[str, np.ndarray]


def arguments(*strategies: str) -> argparse.Namespace:
    """`strategy`, `updates`, `parameters` and `repetitions` from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--strategy", choices=strategies, required=True)
    parser.add_argument("--updates", type=int, required=True)
    parser.add_argument("--parameters", type=int, required=True)
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


def update(parameters: int, seed: int) -> Update:
    """One participant's float32 layers."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes(parameters).items()
    }


def sample_size(participant: int) -> int:
    """Unequal, so that weights matter."""
    return 100 + participant


def measure(prepare: Callable[[], Callable[[], object]], repetitions: int) -> None:
    """Print the JSON object that `benchmarks.peers.run` reads.

    `prepare` returns what aggregates once; it is called anew for each repetition because some
    strategies take the updates apart. What it does itself is not timed.

    The memory is that of the first aggregation: later ones may reuse what the allocator kept.
    """
    aggregate = prepare()
    gc.collect()
    # What was freed while the updates were made would else be taken again unseen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    held = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak, VmHWM
    aggregate()
    extra = _status_bytes("VmHWM") - held
    seconds = []
    for _ in range(repetitions):
        aggregate = prepare()
        started = time.perf_counter()
        result = aggregate()
        seconds.append(time.perf_counter() - started)
        del result
    found = {
        "seconds": statistics.median(seconds),
        "seconds_low": min(seconds),
        "seconds_high": max(seconds),
        "extra_peak_bytes": float(extra),
    }
    print(json.dumps(found))  # noqa: T201


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"The kernel does not tell {field}")
