"""MC_DROPOUT: passes in eval mode with only the dropout layers active, each with its own masks.

Source: Gal & Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016; Smith & Gal,
"Understanding Measures of Uncertainty for Adversarial Example Detection", UAI 2018.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compute.contract import Rejected, RejectionReason, UncertaintyMethod
from compute.uncertainty.dropout_layers import only_dropout_active, seed_dropout
from compute.uncertainty.outputs import stochastic_output, summarised
from compute.uncertainty.registry import Estimate, Sampling, register, single


@register(UncertaintyMethod.MC_DROPOUT)
def predict_with_dropout(
    models: Sequence[nn.Module], batch: Tensor, sampling: Sampling
) -> Estimate:
    """Mean and spread over `sampling.samples` passes with independent masks.

    The same seed gives the same answer on one kind of device.

    Raises:
        Rejected: the model has no dropout that can be switched on.
    """
    model = single(models, UncertaintyMethod.MC_DROPOUT)
    # Dropout draws from torch's global generator, which is put back afterwards.
    devices = [batch.device] if batch.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        only_dropout_active(model) as active,
    ):
        if not active:
            raise Rejected(
                RejectionReason.BAD_INPUT,
                "MC_DROPOUT needs a model with dropout that can be switched on; this one has none. "
                "Traced, frozen and exported (.pt2) models have lost theirs: send a scripted or "
                "pickled module.",
            )
        seed_dropout(sampling.fresh_seed(), batch.device)
        if sampling.split is not None:
            # Without dropout all passes are the same so far.
            batch, model = sampling.split.before(batch), sampling.split.after
        outputs: list[Tensor] = []
        while (missing := sampling.samples - len(outputs)) > 0:
            passes = min(missing, sampling.passes_at_once)
            # Copies of the batch are passes of their own: every row draws its own mask.
            # One is a copy, too: a dropout layer may write to what it is given.
            copies = batch.repeat(passes, *[1] * (batch.dim() - 1)) if passes > 1 else batch.clone()
            joined = stochastic_output(model, copies, softmax=sampling.softmax)
            outputs += joined.chunk(passes)
        return summarised(outputs)
