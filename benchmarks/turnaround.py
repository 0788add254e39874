"""From the last participant's 201 to the next round's notification, beside what it cannot avoid.

Some upload at once, so that folding has to keep up with the arrivals. The limit is one fold, one
division and one model written, hashed and on disk, by the aggregator's own classes here.
"""

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
WARM_UPS = 1
AT_MOST_OF_LIMIT = 1.5
ALLOWANCE_SECONDS = 0.05
FLAT = 1.3


@dataclass(frozen=True)
class _Setting:
    """A training; `at_once` of its participants upload at the same time."""

    participants: int
    parameters: int
    at_once: int = 4
    repetitions: int = REPETITIONS

    def __str__(self) -> str:
        at_once = "all" if self.at_once >= self.participants else str(self.at_once)
        return f"{self.participants} × {self.parameters / 1e6:.3g} M, {at_once} at once"


_SMALL, _LARGE = (_Setting(number, 1_200_000, repetitions=9) for number in (2, 200))
# Rounds of what stands together are taken in turns.
FULL = (
    (_SMALL, _LARGE),
    (_Setting(10, 1_200_000), _Setting(50, 1_200_000)),
    (_Setting(200, 1_200_000, at_once=200),),
    # Beside the targets' sizes: what it costs against the size of the model.
    (_Setting(2, 120_000),),
    (_Setting(2, 5_000_000, repetitions=3),),
    (_Setting(2, 25_000_000, repetitions=3), _Setting(10, 25_000_000, repetitions=3)),
)
_WARM_UP = _Setting(10, 1_200_000, repetitions=20)
QUICK = ((_Setting(2, 1_200_000, repetitions=2), _Setting(10, 1_200_000, repetitions=2)),)


def measure(*, quick: bool) -> Report:
    """Start a server on SQLite, take a training of each setting through its rounds."""
    groups = QUICK if quick else FULL
    figures: list[Figure] = []
    medians: dict[_Setting, Series] = {}
    with short_temporary_folder("bench") as folder, _server(folder) as server:
        limits = {
            parameters: _Limit(folder / f"limit-{parameters}", parameters)
            for parameters in {setting.parameters for group in groups for setting in group}
        }
        # Predictors still come up behind a server that is ready, on the same cores.
        _rounds(server, limits[_WARM_UP.parameters], [_WARM_UP])
        for group in groups:
            turnarounds, limit = _rounds(server, limits[group[0].parameters], group)
            for setting in group:
                last = [one.last_participant_seconds for one in turnarounds[setting]]
                medians[setting] = _series(last)
                figures += _figures(setting, turnarounds[setting], limit)
    if {_SMALL, _LARGE} <= medians.keys():
        figures.append(_flatness(medians[_SMALL], medians[_LARGE]))
    return report(
        "turnaround",
        "Turnaround: from the last 201 to the next round's UPDATE_ROUND_START",
        figures,
        "The server embeds Ray without dashboard; SQLite; participants long-poll; "
        "`skip_model_tests`; uploads are multipart, from one process on the same cores.",
        "The participant is the one whose 201 came last. That the first or everybody was told is a "
        "row of its own: with many participants the answers themselves take time.",
        "Where all upload at once, checks and folds compete for the cores, and what is not folded "
        "when the last update is accepted is folded after it.",
        "Rounds of 2 and 200 times 1.2 M are taken in turns and share a limit; so are those of 10 "
        "and 50, and the two of 25 M.",
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
    server: Server, limit: _Limit, group: Sequence[_Setting]
) -> tuple[dict[_Setting, list[Turnaround]], Series]:
    """Trainings of one size of model and number of repetitions, and its limit, in turns."""
    ((_, repetitions),) = {(setting.parameters, setting.repetitions) for setting in group}
    turnarounds: dict[_Setting, list[Turnaround]] = {setting: [] for setting in group}
    with asyncio.Runner() as runner:
        crowds = {
            setting: runner.run(
                Crowd.gather(
                    server.port,
                    setting.participants,
                    setting.parameters,
                    rounds=WARM_UPS + repetitions + 1,
                )
            )
            for setting in group
        }

        def turn(setting: _Setting) -> float:
            delivered = runner.run(crowds[setting].deliver(setting.at_once))
            turnarounds[setting].append(delivered)
            return delivered.last_participant_seconds

        cases: dict[str, Case] = {str(setting): partial(turn, setting) for setting in group}
        series = alternate(
            {"limit": limit.seconds, **cases}, repetitions=repetitions, warm_ups=WARM_UPS
        )
        for crowd in crowds.values():
            runner.run(crowd.leave())
    return {setting: taken[WARM_UPS:] for setting, taken in turnarounds.items()}, series["limit"]


def _figures(setting: _Setting, turnarounds: list[Turnaround], limit: Series) -> list[Figure]:
    last = _series([one.last_participant_seconds for one in turnarounds])
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
            participants=setting.participants,
            parameters=setting.parameters,
        ),
        figure(
            f"{setting}: at the first",
            "s",
            _series([one.first_seconds for one in turnarounds]),
            participants=setting.participants,
            parameters=setting.parameters,
        ),
        figure(
            f"{setting}: at everybody",
            "s",
            _series([one.all_seconds for one in turnarounds]),
            participants=setting.participants,
            parameters=setting.parameters,
        ),
    ]


def _flatness(small: Series, large: Series) -> Figure:
    return figure(
        f"{_LARGE} beside {_SMALL.participants}",
        "s",
        large,
        beside_name=str(_SMALL),
        beside=small,
        ratio_name="of it",
        ratio=large.median / small.median,
        at_most=FLAT,
        parameters=_SMALL.parameters,
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
