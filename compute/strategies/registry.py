"""What a strategy is, and where strategies are found by name.

A strategy says of which kind it is: *folding* ones keep a running state of the model's size and
take one update at a time. *Gathering* ones need all updates at once, and see them slice by slice,
so that memory is proportional to updates times slice and never to updates times model.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from compute.contract import AggregationOptions
from compute.state_dicts import StateDict


class FoldState(Protocol):
    """A strategy's running state over the updates of one round."""


class FoldingStrategy(Protocol):
    """Aggregates by adding one update after the other into a running state.

    Constraints: an instance keeps no state between calls; updates given to it are compatible with
    the base, which its caller has checked.
    """

    kind: ClassVar[Literal["folding"]]

    def __init__(self, options: AggregationOptions) -> None:
        """Raises `ValueError` for an option it cannot do."""

    def init(self, base: StateDict, device: torch.device) -> FoldState:
        """An empty state on `device`; `base` is not modified."""
        ...

    def fold_(self, state: FoldState, update: StateDict, weight: int) -> None:
        """Add one update into `state`, which is modified; `update` is not."""

    def fold_piece_(
        self, state: FoldState, name: str, start: int, piece: Tensor, weight: int
    ) -> None:
        """Add a slice of one update into `state`, for who goes through several updates at once.

        Args:
            start: Of the slice in the flat tensor `name`.
            piece: Flat, on the state's device, in its own dtype or exactly widened to
                `sum_dtype`; not modified.
        """

    def weighted_sum(self, state: FoldState, name: str) -> Tensor | None:
        """The flat sum of tensor `name`, where all that `fold_piece_` does is to add to it.

        That is `weight` times the piece, each product and each sum rounded once to the sum's
        dtype. Whoever has a faster way may then add by itself, to the same tensor until `finish`.
        None where it does anything else.
        """
        ...

    def count_(self, state: FoldState, weight: int) -> None:
        """Take note that all slices of one update are in `state`."""

    def sum_dtype(self, tensor: Tensor) -> torch.dtype:
        """What a tensor of the model is accumulated in."""
        ...

    def finish(self, state: FoldState, base: StateDict) -> StateDict:
        """The new model on the CPU, with the base's names and dtypes; `state` is used up.

        Raises:
            ValueError: nothing was folded.
        """
        ...


class GatheringStrategy(Protocol):
    """Aggregates all updates of a round at once, slice by slice.

    Constraints: as of `FoldingStrategy`; a coordinate's result depends on this coordinate only, so
    that slices can be of any size and be made in any order, in several threads at once.
    """

    kind: ClassVar[Literal["gathering"]]

    def __init__(self, options: AggregationOptions) -> None:
        """Raises `ValueError` for an option it cannot do."""

    def gather(self, pieces: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
        """The same slice of the new model, in the pieces' dtype.

        Args:
            pieces: The same slice of every update: flat, of one length, dtype and device, at least
                one; not modified.
            weights: Sample size of each.
        """
        ...


Strategy = FoldingStrategy | GatheringStrategy

_Strategy = TypeVar("_Strategy", bound=type[FoldingStrategy] | type[GatheringStrategy])

_registered: dict[str, type[FoldingStrategy] | type[GatheringStrategy]] = {}


def register(name: str) -> Callable[[_Strategy], _Strategy]:
    """Decorator that makes a strategy known under `name`; a name can be taken only once."""

    def add(strategy: _Strategy) -> _Strategy:
        if name in _registered:
            message = f"Strategy {name} is registered twice."
            raise ValueError(message)
        _registered[name] = strategy
        return strategy

    return add


def make_strategy(name: str, options: AggregationOptions) -> Strategy:
    """The strategy of this name with these options.

    Raises:
        ValueError: there is none of this name, or it cannot do one of the options.
    """
    if name not in _registered:
        message = f"Unknown strategy {name}; there are {', '.join(strategy_names())}."
        raise ValueError(message)
    return _registered[name](options)


def strategy_names() -> list[str]:
    """Names of all strategies, sorted."""
    return sorted(_registered)
