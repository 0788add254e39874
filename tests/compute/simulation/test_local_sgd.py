"""Networks that are trained side by side come out as each does in a plain loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from compute.simulation.contract import LocalTraining
from compute.simulation.local_sgd import schedule, train_stacked
from compute.simulation.networks import perceptron

LAYERS = [6, 5, 3]


def alone(
    start: dict[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    steps: list[Tensor],
    local: LocalTraining,
    mu: float,
) -> tuple[dict[str, Tensor], float]:
    """The reference: one network, `torch.optim.SGD`, the proximal term in the loss."""
    network = perceptron(LAYERS, seed=0)
    network.load_state_dict(start)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=local.learning_rate,
        momentum=local.momentum,
        weight_decay=local.weight_decay,
    )
    total = 0.0
    for batch in steps:
        loss = functional.cross_entropy(network(inputs[batch]), labels[batch])
        total += loss.item() * len(batch)
        distance = sum(
            ((parameter - start[name]) ** 2).sum() for name, parameter in network.named_parameters()
        )
        optimizer.zero_grad()
        (loss + mu / 2 * distance).backward()
        optimizer.step()
    return dict(network.state_dict()), total / sum(map(len, steps))


def local_training(**given: float) -> LocalTraining:
    return LocalTraining(learning_rate=0.1, **given)


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 11), min_size=1, max_size=6),
    batch_size=st.integers(1, 7),
    epochs=st.integers(1, 3),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.01]),
    mu=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 1000),
)
def test_stacked_training_equals_a_loop_over_the_networks(
    sizes: list[int],
    batch_size: int,
    epochs: int,
    momentum: float,
    weight_decay: float,
    mu: float,
    seed: int,
) -> None:
    local = local_training(
        epochs=epochs, batch_size=batch_size, momentum=momentum, weight_decay=weight_decay
    )
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(sum(sizes), LAYERS[0], generator=generator)
    labels = torch.randint(LAYERS[-1], (sum(sizes),), generator=generator)
    starts = [dict(perceptron(LAYERS, seed=index).state_dict()) for index in range(len(sizes))]
    shares = torch.arange(sum(sizes)).split(sizes)
    schedules = []
    for share in shares:
        positions = schedule(len(share), local, generator)
        schedules.append(torch.where(positions < 0, positions, share[positions]))
    stacked = {name: torch.stack([start[name] for start in starts]) for name in starts[0]}

    trained, losses = train_stacked(stacked, inputs, labels, schedules, local, mu=mu)

    for index, (start, steps) in enumerate(zip(starts, schedules, strict=True)):
        batches = [row[row >= 0] for row in steps]
        wanted, loss = alone(start, inputs, labels, batches, local, mu)
        for name, tensor in wanted.items():
            torch.testing.assert_close(trained[name][index], tensor, rtol=1e-4, atol=1e-6)
        assert losses[index] == pytest.approx(loss, rel=1e-5)


@given(
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    epochs=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_each_pass_takes_every_sample_once(
    samples: int, batch_size: int, epochs: int, seed: int
) -> None:
    local = local_training(epochs=epochs, batch_size=batch_size)
    steps = schedule(samples, local, torch.Generator().manual_seed(seed))
    for one_pass in steps.view(epochs, -1):
        taken = one_pass[one_pass >= 0]
        assert sorted(taken.tolist()) == list(range(samples))
        assert bool((one_pass[len(taken) :] == -1).all())


@given(samples=st.integers(1, 40), batch_size=st.integers(1, 50), steps=st.integers(1, 30))
def test_a_number_of_steps_is_kept_however_many_passes_it_takes(
    samples: int, batch_size: int, steps: int
) -> None:
    local = local_training(steps=steps, batch_size=batch_size)
    found = schedule(samples, local, torch.Generator().manual_seed(0))
    assert found.shape == (steps, batch_size)
    assert bool((found[:, 0] >= 0).all())


def test_what_is_trained_from_is_not_modified() -> None:
    local = local_training(steps=2)
    start = {name: tensor[None] for name, tensor in perceptron(LAYERS, seed=0).state_dict().items()}
    before = {name: tensor.clone() for name, tensor in start.items()}
    train_stacked(
        start,
        torch.ones(1, 6),
        torch.zeros(1, dtype=torch.int64),
        [torch.zeros(2, 1).long()],
        local,
        mu=0.0,
    )
    assert all(torch.equal(start[name], before[name]) for name in start)
