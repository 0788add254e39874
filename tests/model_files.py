"""Model files as clients send them, and what is in those that come back."""

import io
import pickle
import warnings
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

Weights = dict[str, npt.NDArray[Any]]


def tiny(seed: int = 0) -> nn.Sequential:
    """A classifier of three features into two classes, with a normalisation that has buffers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    )


def drifted(model: nn.Module, seed: int, batches: int = 3) -> nn.Module:
    """`model` as if trained: every floating tensor moved, `batches` more seen. Changes `model`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator).abs())
            else:
                tensor.add_(batches)
    return model


def torchscript(model: nn.Module) -> bytes:
    """`model` as a TorchScript archive."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # TorchScript is what clients in the field send; that torch leaves it behind is known.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(model), file)
    return file.getvalue()


@cache
def tiny_file() -> bytes:
    """`tiny()` as a TorchScript archive."""
    return torchscript(tiny())


def pickled(value: object) -> bytes:
    """`value` as `torch.save` writes it."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def as_client_loads(content: bytes) -> nn.Module:
    """A downloaded model, loaded the way existing clients do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*looks like a TorchScript archive.*")
        model = torch.load(io.BytesIO(content), weights_only=False)
    if not isinstance(model, nn.Module):
        raise TypeError(f"The file holds a {type(model).__name__}.")
    return model


def weights(content: bytes) -> Weights:
    """Name to array of every tensor of a downloaded model."""
    state = as_client_loads(content).state_dict()
    return {name: tensor.detach().numpy().copy() for name, tensor in state.items()}


def federated_average(updates: list[tuple[int, Weights]]) -> Weights:
    """FedAvg (McMahan et al. 2017, Alg. 1) in float64 numpy; integers rounded half to even.

    Args:
        updates: Sample size and weights of each participant.
    """
    total = sum(size for size, _ in updates)
    average: Weights = OrderedDict()
    for name, first in updates[0][1].items():
        mean = np.zeros(first.shape)
        for size, tensors in updates:
            mean += size * tensors[name].astype(np.float64)
        mean /= total
        average[name] = (mean if first.dtype.kind == "f" else np.rint(mean)).astype(first.dtype)
    return average


def assert_within_one_ulp(actual: Weights, expected: Weights) -> None:
    """Same names, dtypes and shapes; floats at most one representable value apart."""
    assert list(actual) == list(expected)
    for name, wanted in expected.items():
        found = actual[name]
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), name
        if wanted.dtype.kind == "f":
            assert np.all(np.abs(found - wanted) <= np.spacing(np.abs(wanted))), name
        else:
            assert np.array_equal(found, wanted), name


class CallsOnLoad:
    """Pickles to a call of `open(path, "w")`, so that loading it carelessly leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


class Unlisted(nn.Module):
    """A module of a class that no allow-list knows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)


def pickle_of_a_string() -> bytes:
    """A plain pickle, which is no torch file."""
    return pickle.dumps("not a model at all")


def exported(model: nn.Module, batch: torch.Tensor) -> bytes:
    """`model` in eval mode as `torch.export` writes it, for batches of any size."""
    sizes = ({0: torch.export.Dim("batch")},)
    file = io.BytesIO()
    torch.export.save(torch.export.export(model.eval(), (batch,), dynamic_shapes=sizes), file)
    return file.getvalue()
