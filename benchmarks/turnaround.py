"""From the last participant's 201 to the next round's notification, beside what it cannot avoid.

Everybody uploads at once, so that folding has to keep up with the arrivals. The limit is one fold,
one division and one model written, hashed and on disk, by the aggregator's own classes here.
"""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import safetensors.torch
import torch

from benchmarks.crowd import Crowd, Turnaround, network
from benchmarks.measurement import Case, Series, alternate
from benchmarks.report import Figure, Report, figure, report
from compute.aggregator import Aggregator
from compute.blobs import BlobStore, open_blob_store
from compute.contract import (
    AggregatorSpec,
    CallbackTarget,
    FinishRound,
    RoundFailed,
    UpdateRef,
)
from tests.servers import Server, short_temporary_folder

REPETITIONS = 5
WARM_UPS = 2
FULL = {1_200_000: (2, 10, 50, 200), 25_000_000: (2, 10)}
QUICK = {1_200_000: (2, 10)}
AT_MOST_OF_LIMIT = 1.5
ALLOWANCE_SECONDS = 0.05
FLAT = 1.3
SMALL, LARGE = 2, 200


@dataclass
class _Found:
    """What the rounds of one setting gave, in order."""

    participants: int
    parameters: int
    turnarounds: list[Turnaround] = field(default_factory=list)


def measure(*, quick: bool) -> Report:
    """Start a server on SQLite, take a training of each setting through its rounds."""
    settings = QUICK if quick else FULL
    repetitions = 2 if quick else REPETITIONS
    figures: list[Figure] = []
    with short_temporary_folder("bench") as folder, _server(folder) as server:
        medians: dict[tuple[int, int], Series] = {}
        for parameters, crowds in settings.items():
            limit = _Limit(folder / f"limit-{parameters}", parameters)
            for participants in crowds:
                found, beside = _rounds(server, limit, participants, parameters, repetitions)
                medians[parameters, participants] = _series(
                    [one.last_participant_seconds for one in found.turnarounds]
                )
                figures += _figures(found, beside)
        figures += [
            _flatness(parameters, medians)
            for parameters in settings
            if (parameters, LARGE) in medians
        ]
    return report(
        "turnaround",
        "Turnaround: from the last 201 to the next round's UPDATE_ROUND_START",
        figures,
        "The server embeds Ray without dashboard; SQLite; participants long-poll; "
        "`skip_model_tests`; all upload at once, by multipart, from one process on the same cores.",
        "The participant is the one whose 201 came last. That the first or everybody was told is a "
        "row of its own: with many participants the answers themselves take the time.",
        f"torch threads of the limit: {torch.get_num_threads()}.",
    )


class _Limit:
    """One fold and one finish in this process, on a store on the same disk."""

    def __init__(self, folder: Path, parameters: int) -> None:
        url = f"file://{folder}"
        self._store = open_blob_store(url)
        module = network(parameters)
        base = folder / "base.pt"
        torch.save(module, base)
        self._base = self._store.put_file(base, consume=True).digest
        self._updates = [
            UpdateRef(
                update_id=str(sample_size),
                digest=_put(self._store, safetensors.torch.save(_moved(module, sample_size))),
                sample_size=sample_size,
            )
            for sample_size in (1, 2)
        ]
        spec = AggregatorSpec(
            training_id="limit",
            strategy="FedAvg",
            blob_url=url,
            callback=CallbackTarget(url="", secret=secrets.token_hex()),
        )
        self._aggregator = Aggregator(spec, self._store, torch.device("cpu"))
        self._round = 0

    def seconds(self) -> float:
        """Of the last of two folds, and of making and keeping the mean."""
        first, last = self._updates
        self._aggregator.fold(self._round, self._base, first)
        started = perf_counter()
        self._aggregator.fold(self._round, self._base, last)
        outcome = self._aggregator.finish_round(
            FinishRound(round=self._round, base_key=self._base, updates=self._updates)
        )
        seconds = perf_counter() - started
        if isinstance(outcome, RoundFailed):
            raise RuntimeError(outcome.reason)  # noqa: TRY004 - of the outcome, not of a type
        # The same sum again: kept, it would not be written the next time.
        self._store.delete(outcome.digest)
        self._round += 1
        return seconds


def _moved(module: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + torch.randn(tensor.shape, generator=generator) * 0.01
        for name, tensor in module.state_dict().items()
    }


def _put(store: BlobStore, content: bytes) -> str:
    with store.scratch_file() as path:
        path.write_bytes(content)
        return store.put_file(path, consume=True).digest


def _rounds(
    server: Server, limit: _Limit, participants: int, parameters: int, repetitions: int
) -> tuple[_Found, Series]:
    found = _Found(participants, parameters)
    with asyncio.Runner() as runner:
        crowd = runner.run(
            Crowd.gather(server.port, participants, parameters, rounds=WARM_UPS + repetitions + 1)
        )

        def turn() -> float:
            found.turnarounds.append(runner.run(crowd.deliver()))
            return found.turnarounds[-1].last_participant_seconds

        cases: dict[str, Case] = {"limit": limit.seconds, "turnaround": turn}
        series = alternate(cases, repetitions=repetitions, warm_ups=WARM_UPS)
        runner.run(crowd.leave())
    del found.turnarounds[:WARM_UPS]
    return found, series["limit"]


def _figures(found: _Found, limit: Series) -> list[Figure]:
    setting = f"{found.participants} × {found.parameters / 1e6:.3g} M"
    last = _series([one.last_participant_seconds for one in found.turnarounds])
    allowed = AT_MOST_OF_LIMIT * limit.median + ALLOWANCE_SECONDS
    return [
        figure(
            f"{setting}: at the participant whose 201 was last",
            "s",
            last,
            beside_name="1 fold, divide, write, fsync, hash",
            beside=limit,
            ratio_name=f"of {AT_MOST_OF_LIMIT:g} × that + {ALLOWANCE_SECONDS * 1e3:.0f} ms",
            ratio=last.median / allowed,
            at_most=1.0,
            participants=found.participants,
            parameters=found.parameters,
        ),
        figure(
            f"{setting}: at the first",
            "s",
            _series([one.first_seconds for one in found.turnarounds]),
            participants=found.participants,
            parameters=found.parameters,
        ),
        figure(
            f"{setting}: at everybody",
            "s",
            _series([one.all_seconds for one in found.turnarounds]),
            participants=found.participants,
            parameters=found.parameters,
        ),
    ]


def _flatness(parameters: int, medians: dict[tuple[int, int], Series]) -> Figure:
    small, large = medians[parameters, SMALL], medians[parameters, LARGE]
    return figure(
        f"{LARGE} participants beside {SMALL}, {parameters / 1e6:.3g} M",
        "s",
        large,
        beside_name=f"{SMALL} participants",
        beside=small,
        ratio_name="of it",
        ratio=large.median / small.median,
        at_most=FLAT,
        parameters=parameters,
    )


def _series(values: list[float]) -> Series:
    return Series(tuple(values))


@contextmanager
def _server(folder: Path) -> Iterator[Server]:
    server = Server(folder / "data", environment={"STARLING_RAY_DASHBOARD": "false"})
    try:
        yield server.start_and_wait()
        server.stop()
    finally:
        server.kill_if_running()
