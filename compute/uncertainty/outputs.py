"""From the outputs of stochastic passes to a mean and its uncertainty."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compute.contract import Rejected, RejectionReason
from compute.uncertainty.measures import entropies
from compute.uncertainty.registry import Estimate


def forward(model: nn.Module, batch: Tensor) -> Tensor:
    """The model's output, shape (batch, classes, …).

    Raises:
        Rejected: the output is not one real tensor with a class dimension.
    """
    output = model(batch)
    if not isinstance(output, Tensor):
        raise _rejected(f"The model answers with a {type(output).__name__}, not with a tensor.")
    if output.is_complex() or output.layout is not torch.strided or output.is_quantized:
        raise _rejected("The model's output is not a dense tensor of real numbers.")
    if output.dim() < 2 or not output.shape[1]:
        raise _rejected(
            f"The model's output has shape {list(output.shape)}, where (batch, classes) is needed."
        )
    return output


def stochastic_output(model: nn.Module, batch: Tensor, *, softmax: bool) -> Tensor:
    """The model's output as floating numbers, after softmax over dimension 1 if asked for."""
    output = forward(model, batch)
    if not output.is_floating_point():
        output = output.float()
    return output.softmax(1) if softmax else output


def summarised(outputs: Sequence[Tensor]) -> Estimate:
    """Mean, unbiased variance and standard deviation; for probabilities also the entropies.

    Args:
        outputs: One per stochastic pass, shape (batch, classes, …), floating. Probabilities are
            taken to be what lies in [0, 1]; each row is then divided by its sum.

    Returns:
        All in the outputs' dtype. The variance of a single output is NaN.

    Raises:
        Rejected: the outputs differ in shape.
    """
    if len({output.shape for output in outputs}) != 1:
        raise _rejected("The models' outputs differ in shape.")
    dtype = outputs[0].dtype
    stacked = torch.stack(list(outputs)).double()  # (passes, batch, classes, …)
    # Around the first output, so that equal outputs have a variance of exactly 0.
    centre = stacked[0]
    spread = stacked - centre
    inference = centre + spread.mean(0)
    if len(outputs) > 1:
        variance = spread.var(0, correction=1)
    else:
        variance = torch.full_like(centre, torch.nan)
    uncertainty = {"variance": variance, "std": variance.sqrt()}
    probable = _probable(stacked)
    if stacked.numel() and bool(probable.all()):
        uncertainty |= _entropies(stacked)
    return Estimate(
        inference.to(dtype),
        {name: tensor.to(dtype) for name, tensor in uncertainty.items()},
        probable,
    )


def _probable(stacked: Tensor) -> Tensor:
    """Which rows lie in [0, 1] in every pass: shape (batch,), bool."""
    if stacked.numel():
        low, high = torch.aminmax(stacked)
        # Nearly always; NaN is in no interval.
        if low >= 0 and high <= 1:
            return torch.ones(stacked.shape[1], dtype=torch.bool, device=stacked.device)
    return ((stacked >= 0) & (stacked <= 1)).transpose(0, 1).flatten(1).all(1)


def _entropies(stacked: Tensor) -> dict[str, Tensor]:
    """The three entropies of values in [0, 1]; NaN where a row sums to 0 in any pass."""
    totals = stacked.sum(2, keepdim=True)
    empty = totals == 0
    if empty.any():
        uniform = torch.full_like(stacked, 1 / stacked.shape[2])
        found = entropies(torch.where(empty, uniform, stacked / totals))
        unknown = empty.any(0).squeeze(1)  # (batch, …)
        predictive, expected, mutual = (each.masked_fill(unknown, torch.nan) for each in found)
    else:
        predictive, expected, mutual = entropies(stacked / totals)
    return {
        "predictive_entropy": predictive,
        "expected_entropy": expected,
        "mutual_info": mutual,
    }


def _rejected(detail: str) -> Rejected:
    return Rejected(RejectionReason.BAD_INPUT, detail)
