"""SWAG (diagonal): passes with parameters drawn from a normal distribution around their average.

θ_t ~ N(m, diag(v)) with v = max(s - m², 0), where m = E[θ] and s = E[θ²]; draws are independent.

Source: Maddox, Garipov, Izmailov, Vetrov & Wilson, "A Simple Baseline for Bayesian Uncertainty in
Deep Learning", NeurIPS 2019, section 3.2.
"""

import contextlib
from collections.abc import Iterator, Sequence

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
        for _ in range(sampling.samples):
            draw_parameters_(model, sampling.moments, generator)
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
    parameters = list(model.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    if {len(moments.first), len(moments.second)} != {sum(sizes)}:
        raise Rejected(
            RejectionReason.INCOMPATIBLE,
            f"The moments have {len(moments.first)} and {len(moments.second)} entries; the model "
            f"has {sum(sizes)} parameters.",
        )
    firsts, seconds = moments.first.split(sizes), moments.second.split(sizes)
    with torch.no_grad():
        for parameter, first, second in zip(parameters, firsts, seconds, strict=True):
            # One parameter at a time: no float64 copy of the whole model.
            mean = first.cpu().double()
            variance = (second.cpu().double() - mean.square()).clamp_(min=0.0)
            noise = torch.randn(len(mean), generator=generator, dtype=torch.float64)
            parameter.copy_((mean + variance.sqrt_() * noise).reshape(parameter.shape))


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
