"""ENSEMBLE: one deterministic pass of each member.

Source: Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation
using Deep Ensembles", NeurIPS 2017.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from compute.contract import Rejected, RejectionReason, UncertaintyMethod
from compute.uncertainty.outputs import stochastic_output, summarised
from compute.uncertainty.registry import Estimate, Sampling, register


@register(UncertaintyMethod.ENSEMBLE)
def predict_with_ensemble(
    models: Sequence[nn.Module], batch: Tensor, sampling: Sampling
) -> Estimate:
    """Mean and spread over the members' outputs; of `sampling` only `softmax` plays a part."""
    if not models:
        raise Rejected(RejectionReason.BAD_INPUT, "An ensemble needs at least one member.")
    return summarised(
        [stochastic_output(model, batch, softmax=sampling.softmax) for model in models]
    )
