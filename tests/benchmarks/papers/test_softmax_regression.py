"""The compiled loop does what the stacked networks of simulations do."""

import numpy as np
import pytest
import torch

from benchmarks.papers.softmax_regression import train_
from compute.simulation.contract import LocalTraining
from compute.simulation.local_sgd import schedule, train_stacked


@pytest.mark.parametrize("mu", [0.0, 1.0])
@pytest.mark.parametrize("samples", [1, 37])
def test_it_trains_as_the_stacked_network_does(mu: float, samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, 12, generator=generator)
    labels = torch.randint(0, 5, (samples,), generator=generator)
    start = {
        "weight": torch.randn(5, 12, generator=generator),
        "bias": torch.randn(5, generator=generator),
    }
    local = LocalTraining(epochs=4, batch_size=10, learning_rate=0.1)
    positions = schedule(samples, local, generator)
    model = {name: tensor.clone() for name, tensor in start.items()}

    train_(
        model["weight"].numpy(),
        model["bias"].numpy(),
        inputs.numpy(),
        labels.numpy(),
        positions.numpy(),
        np.float32(0.1),
        np.float32(mu),
    )

    stacked, _ = train_stacked(
        {name: tensor[None] for name, tensor in start.items()},
        *(inputs, labels, [positions], local),
        mu=mu,
    )
    for name, tensor in model.items():
        assert not torch.equal(tensor, start[name])
        torch.testing.assert_close(tensor, stacked[name][0], rtol=0, atol=1e-4)
