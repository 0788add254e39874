"""Calibration of NONE, MC_DROPOUT, ENSEMBLE and SWAG on digits, as they are and shifted.

Sources: Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles", NeurIPS 2017; Ovadia et al., "Can You Trust Your Model's
Uncertainty?", NeurIPS 2019; Maddox et al., "A Simple Baseline for Bayesian Uncertainty in Deep
Learning", NeurIPS 2019.
"""

import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from backend.simulation import Experiment, simulate
from backend.simulation.experiment import ParticipantsTable
from benchmarks.papers.findings import Claim, Paper
from compute.blobs import LocalBlobStore
from compute.contract import MomentsRef, UncertaintyMethod
from compute.moments import average_moments, write_moments
from compute.simulation.classification import seed_of
from compute.simulation.custom import CustomParticipants
from compute.simulation.datasets import load
from compute.simulation.partitions import dirichlet_shares
from compute.uncertainty import Moments, Sampling, find_method
from compute.uncertainty.measures import (
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)

HIDDEN = 128
DROPOUT = 0.3
PARTICIPANTS = 5
ROUNDS = 20
EPOCHS = 5
BATCH_SIZE = 32
LEARNING_RATE = 0.3
MEMBERS = 5
PASSES = 30
SEEDS = (0, 1, 2)
METHODS = tuple(UncertaintyMethod)


@dataclass(frozen=True)
class Quality:
    """Of predictions on one test set."""

    nll: float
    ece: float
    accuracy: float


@dataclass(frozen=True)
class Share:
    """A participant's samples."""

    inputs: Tensor
    labels: Tensor


def network() -> nn.Sequential:
    """A perceptron with dropout, as both MC_DROPOUT and the others use it."""
    return nn.Sequential(
        nn.Linear(64, HIDDEN),
        nn.ReLU(),
        nn.Dropout(DROPOUT),
        nn.Linear(HIDDEN, 10),
    )


def rotated(inputs: Tensor, degrees: float) -> Tensor:
    """Digits turned by so much, shape (n, 64)."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
    shape = (len(inputs), 1, 8, 8)
    grid = functional.affine_grid(turn.expand(len(inputs), 2, 3), list(shape), align_corners=False)
    return functional.grid_sample(inputs.view(shape), grid, align_corners=False).view(-1, 64)


def noisy(inputs: Tensor, deviation: float) -> Tensor:
    """Digits with Gaussian noise on every pixel, the same on every call."""
    generator = torch.Generator().manual_seed(0)
    return inputs + deviation * torch.randn(inputs.shape, generator=generator)


SHIFTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda inputs: inputs,
    "rotated by 15°": partial(rotated, degrees=15),
    "rotated by 30°": partial(rotated, degrees=30),
    "rotated by 45°": partial(rotated, degrees=45),
    "noise, σ = 0.2": partial(noisy, deviation=0.2),
    "noise, σ = 0.4": partial(noisy, deviation=0.4),
}


def train_locally(
    model: nn.Module,
    share: Share,
    round: int,  # noqa: ARG001 - every round is alike
    seed: int,  # noqa: ARG001 - torch's generator is seeded already
) -> tuple[int, dict[str, float]]:
    """A participant's part of a round."""
    for _ in _steps(model, share):
        pass
    return len(share.labels), {}


def collect_moments(model: nn.Module, share: Share) -> Moments:
    """E[θ] and E[θ²] over a participant's own steps: its part of a SWAG round."""
    first = second = torch.zeros((), dtype=torch.float64)
    count = 0
    for _ in _steps(model, share):
        parameters = nn.utils.parameters_to_vector(model.parameters()).detach().double()
        first, second, count = first + parameters, second + parameters.square(), count + 1
    return Moments(first / count, second / count)


def _steps(model: nn.Module, share: Share) -> Iterator[None]:
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(share.labels)).split(BATCH_SIZE):
            loss = functional.cross_entropy(model(share.inputs[batch]), share.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def federated(shares: Sequence[Share], *, seed: int, rounds: int) -> nn.Sequential:
    """The model of a simulated training, in eval mode."""
    participants = CustomParticipants(
        make_model=network,
        shares=shares,
        train=train_locally,
        sizes=lambda share: len(share.labels),
        seed=seed,
    )
    experiment = Experiment(
        rounds=rounds, seed=seed, participants=ParticipantsTable(count=len(shares))
    )
    model = network()
    with simulate(experiment, participants, workers=0) as simulated:
        for _ in simulated:
            pass
        with tempfile.TemporaryDirectory(prefix="calibration-") as folder:
            path = Path(folder) / "model.safetensors"
            simulated.save_model(path)
            model.load_state_dict(load_file(path))
    return model.eval()


def federated_moments(model: nn.Module, shares: Sequence[Share], *, seed: int) -> Moments:
    """What a SWAG round makes of every participant's moments."""
    with (
        tempfile.TemporaryDirectory(prefix="calibration-") as folder,
        torch.random.fork_rng(devices=[]),
    ):
        store = LocalBlobStore(Path(folder))
        sent = []
        for number, share in enumerate(shares):
            torch.manual_seed(seed_of(seed, "moments", number))
            first, second = write_moments(store, collect_moments(copy.deepcopy(model), share))
            sent.append(
                MomentsRef(
                    moments_id=str(number),
                    first_digest=first.digest,
                    second_digest=second.digest,
                    sample_size=len(share.labels),
                )
            )
        return average_moments(store, sent)


def qualities(
    *, seed: int, rounds: int = ROUNDS, members: int = MEMBERS, passes: int = PASSES
) -> dict[tuple[str, UncertaintyMethod], Quality]:
    """Of every method on every shift, from `members` trainings that start differently."""
    training, test = load("digits")
    shares = [
        Share(training.inputs[share], training.labels[share])
        for share in dirichlet_shares(training.labels.numpy(), PARTICIPANTS, alpha=0.5, seed=seed)
    ]
    models = [
        federated(shares, seed=seed_of(seed, number), rounds=rounds) for number in range(members)
    ]
    sampling = Sampling(samples=passes, softmax=True, seed=seed)
    with_moments = replace(sampling, moments=federated_moments(models[0], shares, seed=seed))
    # NONE answers with classes; what it takes the most probable of is the softmax of one pass.
    probabilities: dict[UncertaintyMethod, Callable[[Tensor], Tensor]] = {
        UncertaintyMethod.NONE: lambda batch: models[0](batch).softmax(1),
        UncertaintyMethod.MC_DROPOUT: partial(
            _predicted, UncertaintyMethod.MC_DROPOUT, models[:1], sampling
        ),
        UncertaintyMethod.ENSEMBLE: partial(
            _predicted, UncertaintyMethod.ENSEMBLE, models, sampling
        ),
        UncertaintyMethod.SWAG: partial(
            _predicted, UncertaintyMethod.SWAG, models[:1], with_moments
        ),
    }
    found = {}
    with torch.no_grad():
        for shift, change in SHIFTS.items():
            batch = change(test.inputs)
            for method, predict in probabilities.items():
                probs = predict(batch)
                found[shift, method] = Quality(
                    nll=negative_log_likelihood(probs, test.labels),
                    ece=expected_calibration_error(probs, test.labels),
                    accuracy=accuracy(probs, test.labels),
                )
    return found


def _predicted(
    method: UncertaintyMethod, models: Sequence[nn.Module], sampling: Sampling, batch: Tensor
) -> Tensor:
    return find_method(method)(models, batch, sampling).inference


def compute() -> Paper:
    """All shifts, methods and seeds."""
    started = time.perf_counter()
    runs = [qualities(seed=seed) for seed in SEEDS]
    means = {
        key: Quality(
            nll=statistics.fmean(run[key].nll for run in runs),
            ece=statistics.fmean(run[key].ece for run in runs),
            accuracy=statistics.fmean(run[key].accuracy for run in runs),
        )
        for key in runs[0]
    }
    return Paper(
        name="calibration",
        title="Calibration on digits, also shifted",
        source=(
            "Lakshminarayanan, Pritzel & Blundell, *Deep Ensembles*, NeurIPS 2017 "
            "([arXiv:1612.01474](https://arxiv.org/abs/1612.01474)); Ovadia et al., *Can You Trust "
            "Your Model's Uncertainty?*, NeurIPS 2019 "
            "([arXiv:1906.02530](https://arxiv.org/abs/1906.02530)); Maddox et al., *SWAG*, "
            "NeurIPS 2019 ([arXiv:1902.02476](https://arxiv.org/abs/1902.02476))."
        ),
        setting=(
            f"MLP 64-{HIDDEN}-10 with dropout {DROPOUT}, trained federatedly by {PARTICIPANTS} "
            f"participants (Dirichlet 0.5) for {ROUNDS} rounds of {EPOCHS} epochs; the ensemble is "
            f"of {MEMBERS} such trainings, dropout and SWAG make {PASSES} passes, SWAG's moments "
            f"are those of a SWAG round. ECE has 15 bins. Means over {len(SEEDS)} seeds."
        ),
        claims=_claims(means),
        headers=["shift", *(f"{method}: NLL / ECE / accuracy" for method in METHODS)],
        figures=[
            [
                shift,
                *(
                    f"{means[shift, method].nll:.3f} / {means[shift, method].ece:.3f} / "
                    f"{means[shift, method].accuracy:.3f}"
                    for method in METHODS
                ),
            ]
            for shift in SHIFTS
        ],
        seconds=time.perf_counter() - started,
    )


def _claims(means: Mapping[tuple[str, UncertaintyMethod], Quality]) -> list[Claim]:
    none, dropout, ensemble, swag = (
        UncertaintyMethod.NONE,
        UncertaintyMethod.MC_DROPOUT,
        UncertaintyMethod.ENSEMBLE,
        UncertaintyMethod.SWAG,
    )
    unshifted, *shifted = SHIFTS
    farthest = "rotated by 45°"

    def over_shifts(method: UncertaintyMethod, measure: str) -> float:
        return statistics.fmean(getattr(means[shift, method], measure) for shift in shifted)

    def compared(better: UncertaintyMethod, measure: str) -> str:
        return f"{over_shifts(better, measure):.3f} instead of {over_shifts(none, measure):.3f}"

    return [
        Claim(
            published="Predictions get worse with shift, by every method (Ovadia et al.)",
            ours="NLL, unshifted and turned by 45°: "
            + ", ".join(
                f"{method} {means[unshifted, method].nll:.2f} and {means[farthest, method].nll:.2f}"
                for method in METHODS
            ),
            holds=all(
                means[farthest, method].nll > means[unshifted, method].nll
                and means[farthest, method].ece > means[unshifted, method].ece
                for method in METHODS
            ),
            why="They publish curves for MNIST, CIFAR-10 and ImageNet.",
        ),
        Claim(
            published=(
                "An ensemble has a lower NLL than one network, on data as in training and on other "
                "(Lakshminarayanan et al.)"
            ),
            ours=(
                f"{means[unshifted, ensemble].nll:.3f} instead of {means[unshifted, none].nll:.3f} "
                f"unshifted, {compared(ensemble, 'nll')} over the shifts"
            ),
            holds=all(means[shift, ensemble].nll < means[shift, none].nll for shift in SHIFTS),
            why="Smaller networks on smaller images; members differ by start and order of samples.",
        ),
        Claim(
            published="Dropout is better than a single pass under shift (Ovadia et al.)",
            ours=f"over the shifts NLL {compared(dropout, 'nll')}, ECE {compared(dropout, 'ece')}",
            holds=over_shifts(dropout, "nll") < over_shifts(none, "nll"),
            why=(
                "The single pass is of the same network, trained with dropout too. Where it is not "
                "overconfident (no or little shift), dropout's averaging has nothing to mend."
            ),
        ),
        Claim(
            published="Ensembles are the best of all under shift (Ovadia et al.)",
            ours=f"over the shifts NLL {over_shifts(ensemble, 'nll'):.3f}, and MC_DROPOUT "
            f"{over_shifts(dropout, 'nll'):.3f}",
            holds=over_shifts(ensemble, "nll")
            == min(over_shifts(method, "nll") for method in METHODS),
            why=(
                "Members that all saw the same few images are sure of the same wrong answers when "
                "digits are turned far; their networks are deeper and differ more."
            ),
        ),
        Claim(
            published="SWAG has a lower NLL than SGD's solution (Maddox et al.)",
            ours=(
                f"{means[unshifted, swag].nll:.3f} instead of {means[unshifted, none].nll:.3f} "
                f"unshifted, {compared(swag, 'nll')} over the shifts"
            ),
            holds=means[unshifted, swag].nll < means[unshifted, none].nll,
            why=(
                "Diagonal SWAG, of one round instead of many epochs; between participants whose "
                "shares differ, it averages over what they disagree on as well."
            ),
        ),
    ]
