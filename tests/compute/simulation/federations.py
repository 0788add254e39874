"""Small federations for the tests of simulations."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compute.simulation.classification import Classifiers
from compute.simulation.contract import Classification, Dirichlet, LocalTraining, Mlp
from compute.simulation.custom import CustomParticipants
from compute.simulation.simulator import Simulator
from compute.simulation.workers import InProcessWorkers
from compute.state_dicts import StateDict


def described(**changes: object) -> Classification:
    """Forty participants that share the digits."""
    given: dict[str, object] = {
        "data": "digits",
        "model": Mlp(layers=[64, 8, 10]),
        "participants": 40,
        "partition": Dirichlet(alpha=0.5),
        "local": LocalTraining(epochs=1, batch_size=8, learning_rate=0.1),
        "seed": 7,
    }
    return Classification(**{**given, **changes})  # type: ignore[arg-type]


def classifiers(**changes: object) -> Simulator:
    participants = Classifiers(described(**changes))
    return Simulator(participants, InProcessWorkers(participants))


def shift(
    model: nn.Module, share: list[float], round: int, seed: int
) -> tuple[int, dict[str, float]]:
    """Adds the share's sum to every parameter: what comes of it is easy to say."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(sum(share))
    return len(share), {"sum": sum(share), "round": float(round)}


def line() -> nn.Module:
    return nn.Linear(2, 1)


def shifting(shares: Sequence[list[float]], seed: int = 0) -> CustomParticipants[list[float]]:
    return CustomParticipants(make_model=line, shares=shares, train=shift, seed=seed)


def flat(state: StateDict) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in state.values()])
