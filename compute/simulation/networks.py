"""The networks that an experiment can name."""

import itertools

import torch
from torch import nn

from compute.simulation.contract import DATA_SETS, Logistic, Mlp


def widths(model: Logistic | Mlp, data: str) -> list[int]:
    """Of the layers, inputs and classes included."""
    match model:
        case Mlp(layers=layers):
            return layers
        case Logistic():
            return [DATA_SETS[data].inputs, DATA_SETS[data].classes]


def perceptron(layers: list[int], *, seed: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU in between, as torch initialises them.

    The same seed gives the same network; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(layers):
            modules += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*modules[:-1])
