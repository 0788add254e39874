"""What a strategy is, and where strategies are found by name.

A strategy says of which kind it is: *folding* ones keep a running state of the model's size and
take one update at a time. *Gathering* ones, which need all updates at once, slice by slice, will be
a second protocol beside this one.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol, TypeVar

import torch

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

    def finish(self, state: FoldState, base: StateDict) -> StateDict:
        """The new model on the CPU, with the base's names and dtypes; `state` is used up.

        Raises:
            ValueError: nothing was folded.
        """
        ...


_Strategy = TypeVar("_Strategy", bound=type[FoldingStrategy])

_registered: dict[str, type[FoldingStrategy]] = {}


def register(name: str) -> Callable[[_Strategy], _Strategy]:
    """Decorator that makes a strategy known under `name`; a name can be taken only once."""

    def add(strategy: _Strategy) -> _Strategy:
        if name in _registered:
            message = f"Strategy {name} is registered twice."
            raise ValueError(message)
        _registered[name] = strategy
        return strategy

    return add


def make_strategy(name: str, options: AggregationOptions) -> FoldingStrategy:
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
