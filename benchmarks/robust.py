"""Gathering strategies: the coordinate-wise median beside Flower's. Runs without Ray.

Ours starts from blobs in the page cache, Flower from replies in its memory; the memory is what
each takes on top of that.
"""

import time

import torch

from benchmarks.aggregate import CPU, MIB, peer_aggregation
from benchmarks.aggregation_memory import peak_memory
from benchmarks.measurement import Series, alternate
from benchmarks.report import Figure, Report, figure, report
from benchmarks.stored_rounds import StoredRound, stored_round
from compute.contract import AggregationOptions
from compute.folding import Weighted
from compute.formats import load_state_dict
from compute.gathering import gather
from compute.strategies.median import Median

SETTINGS = ((10, 1_200_000), (50, 1_200_000), (10, 25_000_000))
SETTINGS_WITH_GPU = (*SETTINGS, (50, 25_000_000))
QUICK_SETTINGS = ((10, 1_200_000),)


def measure(*, quick: bool) -> Report:
    """Answer the question; `quick`: the smallest setting, without Flower."""
    notes = [
        f"{torch.get_num_threads()} threads.",
        "Memory of ours: anonymous, above that before the round; updates are mapped, not read.",
    ]
    figures: list[Figure] = []
    settings = SETTINGS_WITH_GPU if torch.cuda.is_available() else SETTINGS
    for participants, parameters in QUICK_SETTINGS if quick else settings:
        with stored_round(participants, parameters) as stored:
            figures += _median(stored, notes, quick=quick)
    return report("robust", "Coordinate-wise median", figures, *notes)


def _median(stored: StoredRound, notes: list[str], *, quick: bool) -> list[Figure]:
    cases = {"cpu": lambda: _gather_seconds(stored, CPU)}
    if torch.cuda.is_available():
        cases["gpu"] = lambda: _gather_seconds(stored, torch.device("cuda"))
    series = alternate(cases)
    ours = series["cpu"]
    memory = peak_memory(stored, "Median")
    extra = Series(((memory.anonymous - memory.before) / MIB,))
    flower = None if quick else peer_aggregation("flower", "median", stored, notes)
    taken = None if flower is None else Series((flower[1] / MIB,))
    rows = [
        figure(
            f"median, {stored.name}",
            "s",
            ours,
            beside_name=None if flower is None else "Flower's FedMedian",
            beside=None if flower is None else flower[0],
            ratio_name="times as fast",
            ratio=None if flower is None else flower[0].median / ours.median,
            at_least=None if flower is None else 10,
            participants=stored.participants,
            parameters=stored.parameters,
        ),
        figure(
            f"memory on top, median, {stored.name}",
            "MiB",
            extra,
            beside_name=None if taken is None else "Flower's FedMedian",
            beside=taken,
            ratio_name="of Flower's",
            ratio=None if taken is None else extra.median / taken.median,
            at_most=None if taken is None else 0.2,
            participants=stored.participants,
            parameters=stored.parameters,
        ),
    ]
    if "gpu" in series:
        rows.append(
            figure(
                f"median on {torch.cuda.get_device_name()}, {stored.name}",
                "s",
                series["gpu"],
                beside_name="ours on the CPU",
                beside=ours,
                ratio_name="times as fast",
                ratio=ours.median / series["gpu"].median,
                at_least=20,
                participants=stored.participants,
                parameters=stored.parameters,
            )
        )
    return rows


def _gather_seconds(stored: StoredRound, device: torch.device) -> float:
    """Mapping all updates and making the new model's tensors, on the CPU in the end."""
    store = stored.store()
    strategy = Median(AggregationOptions())
    with store.local_path(stored.order.base_key) as path:
        base = load_state_dict(path)
    started = time.perf_counter()
    updates = []
    for update in stored.order.updates:
        with store.local_path(update.digest) as path:
            updates.append(Weighted(load_state_dict(path), update.sample_size))
    gather(strategy, base, updates, device)
    return time.perf_counter() - started
