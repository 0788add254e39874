"""Local training of many small networks at once: one stacked network instead of a loop.

A step of a network of a few thousand parameters takes ten microseconds of arithmetic and some
hundred of Python and dispatch. Stacked, one step of all participants of a block costs one dispatch:
each layer is one batched matrix product, shares of different sizes are padded, and padding has
weight 0 in the loss. Every network's numbers are its own: no operation mixes them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compute.simulation.contract import LocalTraining
from compute.state_dicts import StateDict


def schedule(samples: int, local: LocalTraining, generator: torch.Generator) -> Tensor:
    """Which positions of a share each step takes, int64, shape (steps, batch size).

    Each pass is a new random order; where its last batch is smaller, -1 fills it up.
    """
    per_pass = -(-samples // local.batch_size)
    passes = local.epochs or 1 if local.steps is None else -(-local.steps // per_pass)
    room = per_pass * local.batch_size - samples
    orders = [
        functional.pad(torch.randperm(samples, generator=generator), (0, room), value=-1)
        for _ in range(passes)
    ]
    return torch.cat(orders).view(-1, local.batch_size)[: local.steps]


def train_stacked(
    starts: StateDict,
    inputs: Tensor,
    labels: Tensor,
    schedules: Sequence[Tensor],
    local: LocalTraining,
    *,
    mu: float,
) -> tuple[StateDict, list[float]]:
    """SGD of perceptrons side by side; the same arithmetic as `torch.optim.SGD` on each alone.

    Args:
        starts: A stacked perceptron: pairs of weight (networks, outputs, inputs) and bias
            (networks, outputs), float32, in the order of the layers. Not modified.
        inputs: All samples, float32, shape (samples, inputs).
        labels: int64, shape (samples,).
        schedules: By network, the indices of the samples of each step, int64, shape (steps of this
            network, batch size); -1 at the end of a row is no sample.
        mu: Weight of FedProx's proximal term, (mu/2)·‖w - w_start‖².

    Returns:
        The trained networks, stacked; and by network, the mean over its samples of the loss that
        each had in the step that used it, over all steps.
    """
    # (steps, networks, batch size)
    indices = torch.nn.utils.rnn.pad_sequence(list(schedules), padding_value=-1)
    is_sample = indices >= 0
    counts = is_sample.sum(dim=2)
    indices = indices[:, :, : int(counts.max())].clamp_(min=0)
    weights = is_sample[:, :, : indices.shape[2]] / counts.clamp(min=1).unsqueeze(2)
    steps = len(indices)
    everybody = (counts > 0).all(dim=1).tolist()
    parameters = [tensor.clone() for tensor in starts.values()]
    momenta: list[Tensor | None] = [None] * len(parameters)
    losses = torch.zeros(len(schedules), dtype=torch.float64)
    for step in range(steps):
        for tensor in parameters:
            tensor.requires_grad_()
        loss = _losses(parameters, inputs[indices[step]], labels[indices[step]], weights[step])
        gradients = torch.autograd.grad(loss.sum(), parameters)
        losses += loss.detach().double() * counts[step]
        with torch.no_grad():
            for position, (gradient, start) in enumerate(
                zip(gradients, starts.values(), strict=True)
            ):
                before = parameters[position].detach()
                change = gradient
                if mu:
                    change = change + mu * (before - start)
                if local.weight_decay:
                    change = change + local.weight_decay * before
                momentum = momenta[position]
                if local.momentum:
                    change = change if momentum is None else local.momentum * momentum + change
                    momenta[position] = change
                after = before - local.learning_rate * change
                if not everybody[step]:
                    # Who has no step left stays as it is; what its momentum does is of no matter.
                    active = (counts[step] > 0).view(-1, *[1] * (after.dim() - 1))
                    after = torch.where(active, after, before)
                parameters[position] = after
    trained = dict(zip(starts, parameters, strict=True))
    return trained, (losses / counts.sum(dim=0)).tolist()


def _losses(
    parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Weighted cross-entropy of each network on its own samples, shape (networks,)."""
    hidden = inputs  # (networks, batch, features)
    for position in range(0, len(parameters), 2):
        weight, bias = parameters[position], parameters[position + 1]
        if position:
            hidden = hidden.relu()
        hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight.transpose(1, 2))
    losses = functional.cross_entropy(hidden.flatten(0, 1), labels.flatten(), reduction="none")
    return (losses.view_as(weights) * weights).sum(dim=1)
