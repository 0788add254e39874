"""The classes of torchvision that pickled preprocessing may be made of: see `allowed_classes`.

Importing torchvision takes longer than importing torch, so only who loads transforms does.
"""

import functools
from collections.abc import Callable

import torch

from compute.allowed_classes import classes_in

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision import transforms as transforms_v1
from torchvision.transforms import InterpolationMode, _presets
from torchvision.transforms import v2 as transforms_v2
from torchvision.transforms.autoaugment import AutoAugmentPolicy

_LEFT_OUT = {
    transforms_v1.Lambda,
    transforms_v2.Lambda,
    transforms_v2.Transform,
    transforms_v2.CutMix,
    transforms_v2.MixUp,
    transforms_v2.SanitizeBoundingBoxes,
    transforms_v2.SanitizeKeyPoints,
    InterpolationMode,
    AutoAugmentPolicy,
}


@functools.cache
def transform_classes() -> frozenset[type]:
    """Transforms of both generations, and models' presets, known to `torch.load` from then on."""
    found = {
        cls
        for module in (transforms_v1, transforms_v2, _presets)
        for cls in classes_in(module)
        if cls.__module__.startswith("torchvision.transforms")
    }
    allowed = frozenset(found - _LEFT_OUT)
    named: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        *allowed,
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
