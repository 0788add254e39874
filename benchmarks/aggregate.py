"""Folding updates from blobs in the page cache into their weighted mean, and what it takes.

The limit is what the machine's memory bandwidth allows: in-place addition of as many float32
vectors to one (12 bytes a parameter), times 20/12 for a float64 sum. On a GPU it is a copy from
pinned memory. Runs without Ray.
"""

import subprocess
import time

import torch

from benchmarks import peers
from benchmarks.aggregation_memory import peak_memory
from benchmarks.limits import add_seconds, pinned_copy_seconds
from benchmarks.measurement import Series, alternate
from benchmarks.report import Figure, Report, figure, report
from benchmarks.stored_rounds import DISTINCT_UPDATES, StoredRound, stored_round
from compute.contract import RoundAggregated, UpdateRef

CPU = torch.device("cpu")
MIB = 1024**2
# Bytes that pass between memory and cores for each parameter: the update's, and the sum's twice.
BYTES_PER_PARAMETER = {"float32": 4 + 2 * 4, "float64": 4 + 2 * 8}
PEERS: tuple[tuple[peers.Peer, str], ...] = (("flower", "Flower"), ("nvflare", "NVFlare"))


def measure(*, quick: bool) -> Report:
    """Answer the question; `quick`: smaller models, and no peers."""
    parameters = 2_000_000 if quick else 25_000_000
    figures: list[Figure] = []
    notes = [
        f"torch computes with {torch.get_num_threads()} threads.",
        f"{DISTINCT_UPDATES} different updates; of more, files are taken again under other ids.",
        "Updates are safetensors where nothing else is said.",
        "A fold takes the distance to the base, too: 4 bytes a parameter that no limit counts.",
    ]
    with stored_round(50, parameters) as fifty:
        figures += _folds(fifty.first(10))
        figures += _memory(fifty)
        rounds = [fifty.first(10), fifty]
        if torch.cuda.is_available():
            figures += _folds_on_gpu(fifty.first(10))
        for stored in rounds:
            figures += _beside_peers(stored, notes, quick=quick)
    if not quick:
        with stored_round(100, 1_200_000) as hundred:
            figures += _beside_peers(hundred, notes, quick=quick)
        with stored_round(10, parameters, scripted_updates=True) as scripted:
            figures.append(_folds_of_torchscript(scripted))
    return report("aggregate", "Aggregating updates from the page cache", figures, *notes)


def _folds(stored: StoredRound) -> list[Figure]:
    """Seconds for all updates, one by one as they arrive, and of those that waited."""
    figures = []
    for accumulate, bytes_each in BYTES_PER_PARAMETER.items():
        series = alternate(
            {
                "one": lambda: _fold_seconds(stored, CPU, accumulate),  # noqa: B023
                "all": lambda: _waiting_fold_seconds(stored, accumulate),  # noqa: B023
                "limit": lambda: _limit_seconds(stored, bytes_each),  # noqa: B023
            }
        )
        for how, name in (("one", "one by one"), ("all", "that waited")):
            figures.append(
                figure(
                    f"fold {accumulate}, {stored.name}, {name}",
                    "s",
                    series[how],
                    beside_name=f"memory bandwidth for {bytes_each} bytes/parameter",
                    beside=series["limit"],
                    ratio_name="of the limit",
                    ratio=series["limit"].median / series[how].median,
                    at_least=0.7,
                    participants=stored.participants,
                    parameters=stored.parameters,
                )
            )
    return figures


def _folds_of_torchscript(stored: StoredRound) -> Figure:
    series = alternate(
        {
            "ours": lambda: _fold_seconds(stored, CPU, "float64"),
            "limit": lambda: _limit_seconds(stored, BYTES_PER_PARAMETER["float64"]),
        }
    )
    return figure(
        f"fold float64, {stored.name}, TorchScript",
        "s",
        series["ours"],
        beside_name="memory bandwidth",
        beside=series["limit"],
        ratio_name="of the limit",
        ratio=series["limit"].median / series["ours"].median,
        participants=stored.participants,
        parameters=stored.parameters,
    )


def _folds_on_gpu(stored: StoredRound) -> list[Figure]:
    gpu = torch.device("cuda")
    bytes_moved = 4 * stored.parameters * stored.participants
    series = alternate(
        {
            "ours": lambda: bytes_moved / _fold_seconds(stored, gpu, "float64") / 1e9,
            "limit": lambda: bytes_moved / pinned_copy_seconds(bytes_moved, gpu) / 1e9,
        }
    )
    return [
        figure(
            f"fold float64 on {torch.cuda.get_device_name(gpu)}, {stored.name}",
            "GB/s",
            series["ours"],
            beside_name="copy from pinned memory",
            beside=series["limit"],
            ratio_name="of the limit",
            ratio=series["ours"].median / series["limit"].median,
            at_least=0.8,
            participants=stored.participants,
            parameters=stored.parameters,
        )
    ]


def _memory(stored: StoredRound) -> list[Figure]:
    found = peak_memory(stored, "FedAvg")
    model_bytes = 4 * stored.parameters
    anonymous, resident = (Series((value / MIB,)) for value in (found.anonymous, found.resident))
    return [
        figure(
            f"aggregator's own memory, {stored.name} (before: {found.before / MIB:.0f} MiB)",
            "MiB",
            anonymous,
            at_most=round(3 * model_bytes / MIB + 250, 1),
            participants=stored.participants,
            parameters=stored.parameters,
        ),
        figure(
            f"the same with mapped files, {stored.name}",
            "MiB",
            resident,
            participants=stored.participants,
            parameters=stored.parameters,
        ),
    ]


def _beside_peers(stored: StoredRound, notes: list[str], *, quick: bool) -> list[Figure]:
    """A round from files to a durable model, beside what peers take in memory."""
    ours = alternate({"ours": lambda: _round_seconds(stored)})["ours"]
    found: list[Figure] = []
    for peer, title in () if quick else PEERS:
        theirs = peer_aggregation(peer, "fedavg", stored, notes)
        if theirs is not None:
            found.append(
                figure(
                    f"whole aggregation, {stored.name}: read, fold, divide, write, hash, fsync",
                    "s",
                    ours,
                    beside_name=f"{title}, in memory",
                    beside=theirs[0],
                    ratio_name="times as fast",
                    ratio=theirs[0].median / ours.median,
                    participants=stored.participants,
                    parameters=stored.parameters,
                )
            )
    return found or [
        figure(
            f"whole aggregation, {stored.name}: read, fold, divide, write, hash, fsync",
            "s",
            ours,
            participants=stored.participants,
            parameters=stored.parameters,
        )
    ]


def peer_aggregation(
    peer: peers.Peer, strategy: str, stored: StoredRound, notes: list[str]
) -> tuple[Series, int] | None:
    """Seconds (median, least, greatest) of a peer's aggregation, and the bytes it took on top.

    None where the peer cannot be installed or does not have the memory; a note says so.
    """
    options = {
        "strategy": strategy,
        "updates": stored.participants,
        "parameters": stored.parameters,
        "repetitions": 3,
    }
    try:
        printed = peers.run(peer, f"{peer}_aggregate.py", options)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        notes.append(f"{peer} could not be measured at {stored.name}: {type(error).__name__}.")
        return None
    seconds = Series((printed["seconds_low"], printed["seconds"], printed["seconds_high"]))
    return seconds, int(printed["extra_peak_bytes"])


def _fold_seconds(stored: StoredRound, device: torch.device, accumulate: str) -> float:
    aggregator = stored.aggregator(device, accumulate=accumulate)
    number, base_key = stored.order.round, stored.order.base_key
    # The first opens the round: once, whatever the number of updates.
    first = stored.order.updates[0]
    aggregator.fold(number, base_key, first)
    updates = [*stored.order.updates[1:], _again(first)]
    started = time.perf_counter()
    for update in updates:
        aggregator.fold(number, base_key, update)
    return time.perf_counter() - started


def _waiting_fold_seconds(stored: StoredRound, accumulate: str) -> float:
    outcome = stored.aggregator(CPU, accumulate=accumulate).finish_round(stored.order)
    if not isinstance(outcome, RoundAggregated):
        raise TypeError(outcome.reason)
    return outcome.figures.fold_seconds


def _round_seconds(stored: StoredRound) -> float:
    aggregator = stored.aggregator(CPU)
    started = time.perf_counter()
    aggregator.finish_round(stored.order)
    return time.perf_counter() - started


def _limit_seconds(stored: StoredRound, bytes_each: int) -> float:
    vectors = min(stored.participants, DISTINCT_UPDATES)
    seconds = add_seconds(stored.parameters, torch.float32, vectors=vectors)
    return seconds * stored.participants * bytes_each / BYTES_PER_PARAMETER["float32"]


def _again(update: UpdateRef) -> UpdateRef:
    return UpdateRef(
        update_id=f"{update.update_id} again", digest=update.digest, sample_size=update.sample_size
    )
