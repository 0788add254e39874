"""Models of a given size as named lists of shapes, alike for ours and for every peer."""

import math

import numpy as np

Shapes = dict[str, tuple[int, ...]]


def shapes(parameters: int) -> Shapes:
    """Layers that have `parameters` numbers together.

    Below 20 M a small CNN (two convolutions and a large dense layer: with 1.2 M that of the
    recorded platform's demo data), above that ResNet-50 bodies of 23.5 M each; a dense layer
    takes what is left.

    Raises:
        ValueError: fewer parameters than the CNN has without its dense layer.
    """
    if parameters >= 20_000_000:
        bodies = max(1, parameters // 25_000_000)
        fixed = {
            f"body{body}.{name}": shape
            for body in range(bodies)
            for name, shape in _resnet50_body().items()
        }
    else:
        fixed = {
            "conv1.weight": (32, 1, 3, 3),
            "conv1.bias": (32,),
            "conv2.weight": (64, 32, 3, 3),
            "conv2.bias": (64,),
            "output.weight": (10, 128),
            "output.bias": (10,),
        }
    left = parameters - sum(math.prod(shape) for shape in fixed.values())
    width = 128
    if left < width:
        raise ValueError(f"{parameters} parameters are too few for these layers")
    dense: Shapes = {"dense.weight": (width, left // width)}
    if left % width:
        dense["dense.bias"] = (left % width,)
    return fixed | dense


def first_model(parameters: int) -> dict[str, np.ndarray]:
    """Random float32 layers: whoever spares repeated bytes finds none in a real model either."""
    generator = np.random.default_rng(0)
    return {
        name: generator.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes(parameters).items()
    }


def step(place: int) -> np.float32:
    """What the participant of this number adds to each number: no two send the same bytes."""
    return np.float32(1e-3 * (1 + place))


def _resnet50_body() -> Shapes:
    """He et al. 2015, table 1, without the classifier; trained numbers, no running statistics."""
    found: Shapes = {"conv1.weight": (64, 3, 7, 7), **_norm("bn1", 64)}
    channels = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            found |= {
                f"{name}.conv1.weight": (width, channels, 1, 1),
                **_norm(f"{name}.bn1", width),
            }
            found |= {f"{name}.conv2.weight": (width, width, 3, 3), **_norm(f"{name}.bn2", width)}
            found |= {f"{name}.conv3.weight": (4 * width, width, 1, 1)}
            found |= _norm(f"{name}.bn3", 4 * width)
            if block == 0:
                found |= {f"{name}.downsample.weight": (4 * width, channels, 1, 1)}
                found |= _norm(f"{name}.downsample.bn", 4 * width)
            channels = 4 * width
    return found


def _norm(name: str, channels: int) -> Shapes:
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
