"""torchvision, importable also where it was built for another kind of torch than the one at hand.

A CUDA build of torchvision beside a CPU build of torch cannot load its compiled operators, and its
import then fails on registering shapes for operators that do not exist. Declaring these operators
first lets the import through; the transforms, which are all we need, are plain Python.
"""

import importlib
from types import ModuleType

from torch import library

_DECLARATIONS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_torchvision() -> ModuleType:
    """The torchvision package; a whole one is imported as it is."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            # Of the installation, and not of the file for which it is imported.
            raise ImportError(str(error)) from error
    for name, signature in _DECLARATIONS.items():
        library.define(name, signature)
    return importlib.import_module("torchvision")


torchvision = import_torchvision()
