"""The classes that a pickled module may be made of; `allowed_transforms` has those of torchvision.

A pickle may call whatever is listed here with arguments of its author's choice, and may fill the
instances' attributes at will. So a class is listed only when its constructor and its `__setstate__`
do nothing but set attributes and allocate tensors, and left out when calling an instance would call
a function that the pickle chose (`Lambda`, `labels_getter`, `distance_function`).
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType

import torch
from torch import nn

_LEFT_OUT = {
    nn.Module,  # no behaviour of its own; a subclass is pickled under its own name
    nn.Container,
    nn.DataParallel,  # replicates over devices of this machine
    nn.TripletMarginWithDistanceLoss,  # holds a function
}

# Functions that layers keep as attributes (`TransformerEncoderLayer.activation`).
FUNCTIONS: tuple[Callable[..., object], ...] = (
    nn.functional.relu,
    nn.functional.gelu,
)


@functools.cache
def module_classes() -> frozenset[type]:
    """torch.nn's layers and losses, after telling `torch.load(weights_only=True)` about them."""
    lazy = (nn.modules.lazy.LazyModuleMixin,)
    found = {cls for cls in classes_in(nn) if issubclass(cls, nn.Module)}
    found.add(nn.modules.linear.NonDynamicallyQuantizableLinear)  # inside MultiheadAttention
    allowed = frozenset(cls for cls in found - _LEFT_OUT if not issubclass(cls, lazy))
    torch.serialization.add_safe_globals(
        [*allowed, nn.functional.relu, (nn.functional.gelu, "torch._C._nn.gelu")]
    )
    return allowed


def classes_in(module: ModuleType) -> set[type]:
    """Those that are members of a module, wherever they were defined."""
    return {cls for cls in vars(module).values() if inspect.isclass(cls)}
