"""Training whose outcome is known beforehand, bit for bit.

Every number is a small multiple of a power of two, and sample sizes sum to a power of two: updates
and means are exact in float32, and sums in float64 in whichever order a server adds. What an
undisturbed training gives is thus computed here, independently.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from torch import nn

Weights = Mapping[str, npt.NDArray[np.float32]]

# An update moves each number by i * UNIT, with |i| <= LARGEST_STEP.
UNIT = 2.0**-10
LARGEST_STEP = 64


@dataclass(frozen=True)
class Lessons:
    """What the participants of one training will learn.

    Attributes:
        width: Of the one square layer; the model has width² + width parameters.
    """

    seed: int
    sample_sizes: Sequence[int]
    width: int = 512

    def __post_init__(self) -> None:
        if self._total & (self._total - 1):
            message = f"{self._total} samples are no power of two: the mean would be rounded"
            raise ValueError(message)

    @property
    def _total(self) -> int:
        return sum(self.sample_sizes)

    @property
    def num_parameters(self) -> int:
        """Scalars of the model."""
        return self.width * self.width + self.width

    def model_file(self) -> bytes:
        """The untrained model, as the actor uploads it."""
        module = nn.Linear(self.width, self.width)
        weights = self.untrained()
        with torch.no_grad():
            for name, tensor in module.named_parameters():
                tensor.copy_(torch.from_numpy(weights[name].copy()))
        file = io.BytesIO()
        torch.save(module, file)
        return file.getvalue()

    def untrained(self) -> Weights:
        """The weights before round 0."""
        return self._steps(0)

    def trained(self, base: Weights, round: int, participant: int) -> Weights:
        """What a participant makes of the global model in a round."""
        steps = self._steps(1, round, participant)
        return {name: base[name] + steps[name] for name in base}

    def course(self, rounds: int) -> list[Weights]:
        """The global model before the first and after each of so many undisturbed rounds.

        Raises:
            ValueError: one of them would not be exact in float32.
        """
        model = self.untrained()
        course = [model]
        for round in range(rounds):
            mean = {name: np.zeros(array.shape, np.float64) for name, array in model.items()}
            for participant, size in enumerate(self.sample_sizes):
                steps = self._steps(1, round, participant)
                trained = self.trained(model, round, participant)
                for name in mean:
                    exact = model[name].astype(np.float64) + steps[name]
                    mean[name] += size * exact
                    _require_exact(trained[name], exact)
            model = {name: (array / self._total).astype(np.float32) for name, array in mean.items()}
            for name in model:
                _require_exact(model[name], mean[name] / self._total)
            course.append(model)
        return course

    def moments(self, round: int, participant: int) -> tuple[torch.Tensor, torch.Tensor]:
        """SWAG moments of a participant after an aggregation; each of shape (parameters,)."""
        rng = np.random.default_rng([self.seed, 2, round, participant])
        first = rng.integers(-LARGEST_STEP, LARGEST_STEP + 1, self.num_parameters) * UNIT
        spread = rng.integers(1, LARGEST_STEP + 1, self.num_parameters) * UNIT**2
        return torch.from_numpy(first), torch.from_numpy(first**2 + spread)

    def expected_moments(self, round: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Their weighted means, exact in float64."""
        parts = [self.moments(round, k) for k in range(len(self.sample_sizes))]
        first, second = (
            sum(
                (size * part[which] for size, part in zip(self.sample_sizes, parts, strict=True)),
                start=torch.zeros(self.num_parameters, dtype=torch.float64),
            )
            / self._total
            for which in (0, 1)
        )
        return first, second

    def _steps(self, *key: int) -> Weights:
        rng = np.random.default_rng([self.seed, *key])
        return {
            name: (rng.integers(-LARGEST_STEP, LARGEST_STEP + 1, shape) * UNIT).astype(np.float32)
            for name, shape in (("weight", (self.width, self.width)), ("bias", (self.width,)))
        }


def _require_exact(rounded: npt.NDArray[np.float32], exact: npt.NDArray[np.float64]) -> None:
    if (rounded != exact).any():
        message = "These numbers need more bits than a float32 has: choose fewer samples"
        raise ValueError(message)


def update_file(weights: Weights) -> bytes:
    """Weights as a participant sends them; the same weights are the same bytes."""
    return safetensors.numpy.save({name: np.asarray(array) for name, array in weights.items()})


def moment_file(moment: torch.Tensor) -> bytes:
    """A SWAG moment as a participant sends it."""
    file = io.BytesIO()
    torch.save(moment, file)
    return file.getvalue()


def read_model(content: bytes) -> Weights:
    """The weights in a downloaded model; it comes from a server under test, not from strangers."""
    module = torch.load(io.BytesIO(content), weights_only=False)
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def read_moment(content: bytes) -> torch.Tensor:
    """A downloaded SWAG moment."""
    moment = torch.load(io.BytesIO(content), weights_only=True)
    if not isinstance(moment, torch.Tensor):
        raise TypeError(f"The file holds a {type(moment).__name__}.")
    return moment


def first_difference(found: Weights, expected: Weights) -> str | None:
    """Where two models differ, in words; None when every bit is the same."""
    if list(found) != list(expected):
        return f"tensors {list(found)} instead of {list(expected)}"
    for name, wanted in expected.items():
        here = found[name]
        if (here.dtype, here.shape) != (wanted.dtype, wanted.shape):
            return f"{name} is {here.dtype} {here.shape} instead of {wanted.dtype} {wanted.shape}"
        # As integers: 0.0 and -0.0 are not the same, and NaN is.
        differing = np.flatnonzero(here.view(np.uint32) != wanted.view(np.uint32))
        if differing.size:
            at = int(differing[0])
            return (
                f"{name} differs in {differing.size} of {wanted.size} values, first at {at}: "
                f"{here.flat[at]!r} instead of {wanted.flat[at]!r}"
            )
    return None
