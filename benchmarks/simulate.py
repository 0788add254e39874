"""Simulated rounds per second, beside Flower's simulation engine on the same version of Ray."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.simulation import Experiment, simulate
from backend.simulation.experiment import DataTable, ParticipantsTable
from benchmarks import peers
from benchmarks.measurement import Series, alternate
from benchmarks.report import Figure, Report, figure, report
from compute.simulation.contract import Dirichlet, LocalTraining, Mlp
from compute.simulation.custom import CustomParticipants
from compute.simulation.datasets import load
from compute.simulation.partitions import dirichlet_shares

LAYERS = [64, 32, 10]
FRACTION = 0.1
BATCH_SIZE = 16
LEARNING_RATE = 0.1
CPUS = 2
AT_LEAST = 5.0


def measure(*, quick: bool) -> Report:
    """The same model, shares, steps and test in each round; every engine starts its own Ray."""
    participants, rounds, flower_rounds = (200, 6, 3) if quick else (1000, 20, 8)
    figures = []
    with tempfile.TemporaryDirectory(prefix="simulate-") as name:
        folder = Path(name)
        _write_samples(folder, participants)

        def run(steps: int, *, repetitions: int, loop: bool) -> dict[str, _Case]:
            _write_settings(folder, participants, flower_rounds, steps)
            cases = {
                "ours": _Case(lambda: _ours(participants, rounds, steps)),
                "flower": _Case(lambda: _flower(folder, participants)),
            }
            if loop:
                cases["loop"] = _Case(lambda: _loop(participants, rounds, steps))
            # Without warm-ups: an engine takes seconds to start, and each is new in each turn.
            alternate(cases, repetitions=repetitions, warm_ups=0)
            return cases

        setting = f"{participants} participants, 10 % per round"
        cases = run(1, repetitions=1 if quick else 5, loop=False)
        figures.append(_rate(f"{setting}, 1 local step", cases, "ours", participants, AT_LEAST))
        first = {name: Series(tuple(case.first_seconds)) for name, case in cases.items()}
        figures.append(
            figure(
                "first round of it, start of Ray included",
                "s",
                first["ours"],
                beside_name="Flower",
                beside=first["flower"],
                ratio_name="of Flower's time",
                ratio=first["ours"].median / first["flower"].median,
            )
        )
        if not quick:
            cases = run(10, repetitions=2, loop=True)
            figures.append(_rate(f"{setting}, 10 local steps", cases, "ours", participants, None))
            what = "the same with a training function in Python"
            figures.append(_rate(what, cases, "loop", participants, None))
    return report(
        "simulate",
        "Simulation: virtual participants on Ray",
        figures,
        f"digits MLP {'-'.join(map(str, LAYERS))}, Dirichlet 0.5 shares, batches of {BATCH_SIZE}, "
        f"{CPUS} CPUs, one thread per worker; a test of the global model in each round",
        f"Flower: {peers.requirements('flower_simulation')}; one CPU per client",
        "Rounds per second are those after the first. Flower's own extra asks for ray 2.55.1; here "
        "it runs on the version that we run on.",
    )


def _rate(
    what: str, cases: "dict[str, _Case]", ours: str, participants: int, at_least: float | None
) -> Figure:
    mine, flower = cases[ours].rounds_per_second(), cases["flower"].rounds_per_second()
    return figure(
        what,
        "rounds/s",
        mine,
        beside_name="Flower",
        beside=flower,
        ratio_name="× as many",
        ratio=mine.median / flower.median,
        at_least=at_least,
        participants=participants,
    )


class _Case:
    """An engine: a call runs it once, and keeps all that it said."""

    def __init__(self, run: Callable[[], dict[str, float]]) -> None:
        self._run = run
        self.round_seconds: list[float] = []
        self.first_seconds: list[float] = []

    def __call__(self) -> float:
        found = self._run()
        self.round_seconds.append(found["round_seconds"])
        self.first_seconds.append(found["first_seconds"])
        return found["round_seconds"]

    def rounds_per_second(self) -> Series:
        """After the first, by repetition."""
        return Series(tuple(1 / seconds for seconds in self.round_seconds))


def _experiment(participants: int, rounds: int, steps: int) -> Experiment:
    return Experiment(
        rounds=rounds,
        participants=ParticipantsTable(count=participants, partition=Dirichlet(alpha=0.5)),
        options={"cohort": FRACTION},
        data=DataTable(name="digits"),
        model=Mlp(layers=LAYERS),
        local=LocalTraining(steps=steps, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE),
    )


def _ours(participants: int, rounds: int, steps: int) -> dict[str, float]:
    return _timed(_experiment(participants, rounds, steps), None)


def _loop(participants: int, rounds: int, steps: int) -> dict[str, float]:
    """The same participants as a user would write them: a model, shares, and a torch loop."""
    training, test = load("digits")
    shares = [
        (training.inputs[share], training.labels[share])
        for share in dirichlet_shares(training.labels.numpy(), participants, alpha=0.5, seed=0)
    ]

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def train(
        model: nn.Module,
        share: tuple[Tensor, Tensor],
        round: int,  # noqa: ARG001 - the same in every round, as Flower's
        seed: int,  # noqa: ARG001 - torch's generator is seeded already
    ) -> tuple[int, dict[str, float]]:
        inputs, labels = share
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        left, loss = steps, torch.zeros(())
        while left:
            for batch in torch.randperm(len(labels)).split(BATCH_SIZE)[:left]:
                loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                left -= 1
        return len(labels), {"loss": loss.item()}

    def accuracy(model: nn.Module) -> dict[str, float]:
        right = model(test.inputs).argmax(dim=1) == test.labels
        return {"accuracy": right.double().mean().item()}

    custom = CustomParticipants(
        make_model=network,
        shares=shares,
        train=train,
        test=accuracy,
        sizes=lambda share: len(share[1]),
    )
    return _timed(_experiment(participants, rounds, steps), custom)


def _timed(
    experiment: Experiment, custom: "CustomParticipants[tuple[Tensor, Tensor]] | None"
) -> dict[str, float]:
    started = time.perf_counter()
    with simulate(experiment, custom, workers=CPUS) as simulated:
        ended = [time.perf_counter() for _ in simulated]
    return {
        "first_seconds": ended[0] - started,
        "round_seconds": (ended[-1] - ended[0]) / (len(ended) - 1),
    }


def _flower(folder: Path, participants: int) -> dict[str, float]:
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    return peers.run(
        "flower_simulation",
        "flower_simulation.py",
        {"folder": folder, "participants": participants, "cpus": CPUS},
    )


def _write_samples(folder: Path, participants: int) -> None:
    training, test = load("digits")
    shares = dirichlet_shares(training.labels.numpy(), participants, alpha=0.5, seed=0)
    np.savez(
        folder / "samples.npz",
        inputs=training.inputs.numpy(),
        labels=training.labels.numpy(),
        test_inputs=test.inputs.numpy(),
        test_labels=test.labels.numpy(),
        indices=np.concatenate(shares),
        starts=np.cumsum([0, *map(len, shares)]),
    )


def _write_settings(folder: Path, participants: int, rounds: int, steps: int) -> None:
    settings = {
        "participants": participants,
        "fraction": FRACTION,
        "rounds": rounds,
        "steps": steps,
        "batch-size": BATCH_SIZE,
        "learning-rate": LEARNING_RATE,
    }
    lines = [f"{name} {value}" for name, value in settings.items()]
    (folder / "settings").write_text("\n".join(lines))
