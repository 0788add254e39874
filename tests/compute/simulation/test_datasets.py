"""Data sets are whole, split the same way each time, and fit what the contract says of them."""

import pytest
import torch

from compute.simulation.contract import DATA_SETS
from compute.simulation.datasets import load


@pytest.mark.parametrize(("name", "samples"), [("digits", 1797), ("breast_cancer", 569)])
def test_a_data_set_is_split_into_all_its_samples(name: str, samples: int) -> None:
    training, test = load(name)
    again, _ = load(name)
    assert len(training) + len(test) == samples
    assert len(test) / samples == pytest.approx(0.2, abs=0.01)
    assert training.inputs.shape[1] == DATA_SETS[name].inputs
    assert training.inputs.dtype == torch.float32
    assert sorted(set(training.labels.tolist())) == list(range(DATA_SETS[name].classes))
    assert torch.equal(training.inputs, again.inputs)
