"""Synthetic(α, β) is what the paper describes."""

import numpy as np
import pytest
import torch

from benchmarks.papers.synthetic import CLASSES, INPUTS, devices


def test_the_same_seed_gives_the_same_devices() -> None:
    for first, again in zip(devices(1, 1, seed=3), devices(1, 1, seed=3), strict=True):
        assert torch.equal(first.inputs, again.inputs)
        assert torch.equal(first.test_labels, again.test_labels)
    assert not torch.equal(devices(1, 1, seed=3)[0].inputs[0], devices(1, 1, seed=4)[0].inputs[0])


def test_there_are_thirty_and_a_tenth_of_each_is_for_the_test() -> None:
    made = devices(0.5, 0.5, seed=0)
    assert len(made) == 30
    for device in made:
        size = len(device.labels) + len(device.test_labels)
        assert size >= 50
        assert len(device.labels) == int(0.9 * size)
        assert device.inputs.shape == (len(device.labels), INPUTS)
        assert int(torch.cat([device.labels, device.test_labels]).max()) < CLASSES


def test_few_devices_hold_most_samples() -> None:
    sizes = np.sort([len(device.labels) for device in devices(0, 0, seed=0, count=300)])
    assert sizes[-30:].sum() > 0.5 * sizes.sum()


def test_later_inputs_vary_less() -> None:
    large = max(devices(0, 0, seed=0, count=30), key=lambda device: len(device.labels))
    variances = large.inputs.double().var(dim=0)
    expected = torch.arange(1, INPUTS + 1, dtype=torch.float64) ** -1.2
    # Of some thousand samples: within six standard errors of a variance.
    tolerance = 6 * (2 / len(large.labels)) ** 0.5
    assert float((variances / expected - 1).abs().max()) < tolerance


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_beta_moves_the_inputs_of_devices_apart(beta: float) -> None:
    def spread(beta: float) -> float:
        # Each device's mean over all inputs has variance β² + 1/60, and little of its samples.
        means = [device.inputs.mean() for device in devices(0, beta, seed=1, count=150)]
        return float(torch.stack(means).var())

    assert spread(0) == pytest.approx(1 / INPUTS, rel=0.5)
    assert spread(beta) == pytest.approx(beta**2 + 1 / INPUTS, rel=0.5)
