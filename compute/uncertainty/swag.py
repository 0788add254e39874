"""SWAG (diagonal): passes with parameters drawn from a normal distribution around their average.

θ_t ~ N(m, diag(v)) with v = max(s - m², 0), where m = E[θ] and s = E[θ²]; draws are independent.

Source: Maddox, Garipov, Izmailov, Vetrov & Wilson, "A Simple Baseline for Bayesian Uncertainty in
Deep Learning", NeurIPS 2019, section 3.2.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compute.contract import Rejected, RejectionReason, UncertaintyMethod
from compute.uncertainty.outputs import stochastic_output, summarised
from compute.uncertainty.registry import Estimate, Moments, Sampling, register, single


@register(UncertaintyMethod.SWAG)
def predict_with_swag(models: Sequence[nn.Module], batch: Tensor, sampling: Sampling) -> Estimate:
    """Mean and spread over `sampling.samples` independent draws of the parameters.

    The same seed gives the same draws on any device.

    Raises:
        Rejected: there are no moments, or they are not this model's.
    """
    model = single(models, UncertaintyMethod.SWAG)
    if sampling.moments is None:
        raise Rejected(
            RejectionReason.BAD_INPUT,
            "The SWAG model has no moments yet; they come with a SWAG round of its training.",
        )
    generator = torch.Generator().manual_seed(sampling.fresh_seed())
    outputs = []
    with _parameters_restored(model):
        normals = _normals(model, sampling.moments)
        for _ in range(sampling.samples):
            _draw_(normals, generator)
            outputs.append(stochastic_output(model, batch, softmax=sampling.softmax))
    return summarised(outputs)


def draw_parameters_(model: nn.Module, moments: Moments, generator: torch.Generator) -> None:
    """Set the model's parameters to one draw from N(m, diag(max(s - m², 0))).

    Args:
        model: Its parameters are overwritten; buffers are not.
        moments: Flat over `model.parameters()` in their order, shape (P,), on any device.
        generator: On the CPU; advanced by P normal draws.

    Raises:
        Rejected: P is not the model's number of parameters.
    """
    _draw_(_normals(model, moments), generator)


class _Normal(NamedTuple):
    """What a parameter is drawn from: float64 for float64 parameters, else float32."""

    parameter: nn.Parameter
    mean: Tensor
    std: Tensor


def _normals(model: nn.Module, moments: Moments) -> list[_Normal]:
    """Each parameter with its mean and √max(s - m², 0), which is taken in float64."""
    parameters = list(model.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    if {len(moments.first), len(moments.second)} != {sum(sizes)}:
        raise Rejected(
            RejectionReason.INCOMPATIBLE,
            f"The moments have {len(moments.first)} and {len(moments.second)} entries; the model "
            f"has {sum(sizes)} parameters.",
        )
    firsts, seconds = moments.first.split(sizes), moments.second.split(sizes)
    found = []
    for parameter, first, second in zip(parameters, firsts, seconds, strict=True):
        # One parameter at a time: no float64 copy of the whole model.
        mean = first.cpu().double()
        std = (second.cpu().double() - mean.square()).clamp_(min=0.0).sqrt_()
        dtype = torch.float64 if parameter.dtype == torch.float64 else torch.float32
        shape = parameter.shape
        found.append(
            _Normal(parameter, mean.to(dtype).reshape(shape), std.to(dtype).reshape(shape))
        )
    return found


def _draw_(normals: Sequence[_Normal], generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter, mean, std in normals:
            drawn = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
            parameter.copy_(drawn.mul_(std).add_(mean))


@contextlib.contextmanager
def _parameters_restored(model: nn.Module) -> Iterator[None]:
    """Put the parameters back at the end: the model is kept for other predictions."""
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), kept, strict=True):
                parameter.copy_(value)
