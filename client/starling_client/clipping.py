"""Clipping of a participant's update, which bounds what any one participant can change.

Source: McMahan, Ramage, Talwar & Zhang, "Learning Differentially Private Recurrent Language
Models", ICLR 2018, section 2, FlatClip.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from starling_client.errors import BadSubmission


@torch.no_grad()
def clip_update(
    model: nn.Module, global_parameters: Mapping[str, Tensor], max_norm: float
) -> float:
    """Bring a trained model back towards the global one until it is at most `max_norm` away.

        train(model)
        clip_update(model, task.global_parameters, max_norm=1.0)
        task.submit(model, sample_size=1)

    The update w - w_global is multiplied by min(1, max_norm / ‖w - w_global‖). It has every
    floating or complex tensor of the state dict, buffers too: the server averages them as well.
    This alone is no differential privacy: it is the bound that noise has to be measured against.

    Args:
        model: Changed in place.
        global_parameters: Every tensor by name, as the round began; more names do no harm.
        max_norm: Of the update after it, in the L2 norm over all tensors together, up to the
            rounding of their dtype; above 0.

    Returns:
        The norm before, computed in float64.

    Raises:
        BadSubmission: the update is not finite, or `max_norm` is not above 0.
        KeyError: a tensor of the model has no global one.
    """
    if not max_norm > 0:
        raise BadSubmission(f"max_norm must be above 0, and is {max_norm}.")
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() or tensor.is_complex()
    }
    fixed = {name: _exact(global_parameters[name]) for name in tensors}
    updates = {name: _exact(tensor) - fixed[name] for name, tensor in tensors.items()}
    norm = math.hypot(*(float(update.norm()) for update in updates.values()))
    if not math.isfinite(norm):
        raise BadSubmission("The trained model has values that are not finite: it diverged.")
    if norm > max_norm:
        for name, tensor in tensors.items():
            tensor.copy_(fixed[name] + updates[name] * (max_norm / norm))
    return norm


def _exact(tensor: Tensor) -> Tensor:
    """In double precision and on the CPU: not every device has it."""
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.detach().to("cpu", dtype)
