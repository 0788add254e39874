"""What an uncertainty method is, and where methods are found by name."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from compute.contract import Rejected, RejectionReason, UncertaintyMethod
from compute.uncertainty.dropout_split import DropoutSplit


class Moments(NamedTuple):
    """E[θ] and E[θ²], flat over `parameters()` in their order: shape (P,), floating, finite."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Sampling:
    """How stochastic outputs are drawn.

    Attributes:
        samples: Number of stochastic passes, >= 1.
        softmax: Apply softmax over dimension 1 to each output first.
        seed: Makes the draws reproducible on one kind of device; None takes a fresh one.
        moments: Of the parameters, for SWAG.
        passes_at_once: How many stochastic passes may go through the model as copies of the batch
            behind each other; more than 1 only for a model that treats every row for itself.
        split: The model in two, where what comes before its dropout treats every row for itself and
            does the same in every pass; all passes of MC_DROPOUT then share that.
    """

    samples: int = 10
    softmax: bool = False
    seed: int | None = None
    moments: Moments | None = None
    passes_at_once: int = 1
    split: DropoutSplit | None = None

    def fresh_seed(self) -> int:
        """The given seed, or an unpredictable one (a new process starts with torch's constant)."""
        # torch takes 64 bits of either sign.
        return secrets.randbits(63) if self.seed is None else self.seed % 2**64


@dataclass(frozen=True)
class Estimate:
    """A prediction and how uncertain it is.

    Attributes:
        inference: Mean output, shape (batch, classes, …); class indices without a method.
        uncertainty: `variance` and `std` of the shape of `inference`; for probabilities also
            `predictive_entropy`, `expected_entropy` and `mutual_info` without the class dimension.
        probable: Which rows' outputs were probabilities in every pass: shape (batch,), bool; None
            without passes.
    """

    inference: Tensor
    uncertainty: dict[str, Tensor]
    probable: Tensor | None = None

    def split(self, sizes: Sequence[int]) -> "list[Estimate | None]":
        """The estimates of as many rows each; None for one that has entropies only by itself.

        They need every output to be a probability: rows beside others that are none went without.
        """
        names = list(self.uncertainty)
        parts = [self.uncertainty[name].split(list(sizes)) for name in names]
        inferences = self.inference.split(list(sizes))
        lacking = [False] * len(sizes)
        if self.probable is not None and "mutual_info" not in names:
            lacking = [bool(rows.all()) for rows in self.probable.split(list(sizes))]
        return [
            None
            if lacking[index]
            else Estimate(
                inference, {name: part[index] for name, part in zip(names, parts, strict=True)}
            )
            for index, inference in enumerate(inferences)
        ]


Method = Callable[[Sequence[nn.Module], Tensor, Sampling], Estimate]
"""Predicts a batch with models in eval mode, on one device; leaves the models as they were.

Constraints: called by one thread at a time. Raises `Rejected` (BAD_INPUT) for models that the
method cannot do; what a model itself raises passes through.
"""

_registered: dict[UncertaintyMethod, Method] = {}


def register(name: UncertaintyMethod) -> Callable[[Method], Method]:
    """Decorator that makes a method known under `name`; a name can be taken only once."""

    def add(method: Method) -> Method:
        if name in _registered:
            message = f"Uncertainty method {name} is registered twice."
            raise ValueError(message)
        _registered[name] = method
        return method

    return add


def find_method(name: UncertaintyMethod) -> Method:
    """The method of this name. Raises `ValueError` when there is none."""
    if name not in _registered:
        message = f"Unknown uncertainty method {name}; there are {', '.join(method_names())}."
        raise ValueError(message)
    return _registered[name]


def method_names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(_registered)


def single(models: Sequence[nn.Module], method: UncertaintyMethod) -> nn.Module:
    """The one model that `method` works on.

    Raises:
        Rejected: there are none or several.
    """
    if len(models) != 1:
        raise Rejected(
            RejectionReason.BAD_INPUT, f"{method} predicts with one model, not with {len(models)}."
        )
    return models[0]
