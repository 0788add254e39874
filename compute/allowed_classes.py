"""The classes that a pickled module or preprocessing may be made of.

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

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision import transforms as transforms_v1
from torchvision.transforms import InterpolationMode, _presets
from torchvision.transforms import v2 as transforms_v2
from torchvision.transforms.autoaugment import AutoAugmentPolicy

_LEFT_OUT = {
    nn.Module,  # no behaviour of its own; a subclass is pickled under its own name
    nn.Container,
    nn.DataParallel,  # replicates over devices of this machine
    nn.TripletMarginWithDistanceLoss,  # holds a function
    transforms_v1.Lambda,
    transforms_v2.Lambda,
    transforms_v2.Transform,
    transforms_v2.CutMix,
    transforms_v2.MixUp,
    transforms_v2.SanitizeBoundingBoxes,
    transforms_v2.SanitizeKeyPoints,
}

# Functions that layers keep as attributes (`TransformerEncoderLayer.activation`).
FUNCTIONS: tuple[Callable[..., object], ...] = (
    nn.functional.relu,
    nn.functional.gelu,
)


def module_classes() -> frozenset[type]:
    """torch.nn's layers and losses."""
    lazy = (nn.modules.lazy.LazyModuleMixin,)
    found = {cls for cls in _classes_in(nn) if issubclass(cls, nn.Module)}
    found.add(nn.modules.linear.NonDynamicallyQuantizableLinear)  # inside MultiheadAttention
    return frozenset(cls for cls in found - _LEFT_OUT if not issubclass(cls, lazy))


def transform_classes() -> frozenset[type]:
    """Torchvision's transforms of both generations, and its models' presets."""
    found = {
        cls
        for module in (transforms_v1, transforms_v2, _presets)
        for cls in _classes_in(module)
        if cls.__module__.startswith("torchvision.transforms")
    }
    return frozenset(found - _LEFT_OUT - {InterpolationMode, AutoAugmentPolicy})


@functools.cache
def register_allowed_classes() -> frozenset[type]:
    """The listed classes, after telling `torch.load(weights_only=True)` about them."""
    allowed = module_classes() | transform_classes()
    named: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        *allowed,
        nn.functional.relu,
        (nn.functional.gelu, "torch._C._nn.gelu"),
        # Enumerations by a function that looks a member up: were the class itself listed, a pickle
        # could change its members for the whole process.
        (_interpolation_mode, "torchvision.transforms.functional.InterpolationMode"),
        (_auto_augment_policy, "torchvision.transforms.autoaugment.AutoAugmentPolicy"),
    ]
    torch.serialization.add_safe_globals(named)
    return allowed


def _interpolation_mode(value: str) -> InterpolationMode:
    return InterpolationMode(value)


def _auto_augment_policy(value: str) -> AutoAugmentPolicy:
    return AutoAugmentPolicy(value)


def _classes_in(module: ModuleType) -> set[type]:
    return {cls for cls in vars(module).values() if inspect.isclass(cls)}
