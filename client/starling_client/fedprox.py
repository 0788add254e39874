"""FedProx's proximal term, which keeps local training near the global model.

Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar & Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020, eq. 2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def proximal(model: nn.Module, global_parameters: Mapping[str, Tensor], mu: float) -> Tensor:
    """μ/2 · ‖w - w_global‖² over the parameters; add it to the loss of each step.

        loss = criterion(model(x), y) + proximal(model, task.global_parameters, task.mu)

    Args:
        global_parameters: By name, as the round began; more names do no harm.

    Returns:
        A scalar that gradients flow through, on the parameters' device; 0 for a `mu` of 0.

    Raises:
        KeyError: a parameter of the model has no global one.
    """
    parameters = dict(model.named_parameters())
    total = torch.zeros((), device=next(iter(parameters.values())).device)
    if mu == 0:
        return total
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            fixed = global_parameters[name].to(parameter.device, parameter.dtype)
            total = total + (parameter - fixed).square().sum()
    return mu / 2 * total
