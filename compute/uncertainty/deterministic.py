"""NONE: one deterministic pass; the answer is the class indices, and no uncertainty."""

from collections.abc import Sequence

from torch import Tensor, nn

from compute.contract import UncertaintyMethod
from compute.uncertainty.outputs import forward
from compute.uncertainty.registry import Estimate, Sampling, register, single


@register(UncertaintyMethod.NONE)
def predict_classes(models: Sequence[nn.Module], batch: Tensor, sampling: Sampling) -> Estimate:
    """Argmax over dimension 1, shape (batch, …), int64; `sampling` plays no part."""
    del sampling
    output = forward(single(models, UncertaintyMethod.NONE), batch)
    return Estimate(output.argmax(1), {})
