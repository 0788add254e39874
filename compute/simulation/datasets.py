"""Small data sets that come with scikit-learn, split into training and test samples."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compute.simulation.contract import DATA_SETS, SimulationFailed

TEST_FRACTION = 0.2
# The test set is the same whatever the seed of a run, so that accuracies can be compared.
TEST_SEED = 20_190_913


@dataclass(frozen=True)
class Samples:
    """Inputs, float32, shape (n, inputs); labels, int64, shape (n,)."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load(name: str) -> tuple[Samples, Samples]:
    """Training samples, and a fixed test set that holds 20 % of every class.

    Digits are scaled to [0, 1]; the columns of breast_cancer to mean 0 and standard deviation 1.

    Raises:
        SimulationFailed: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_breast_cancer, load_digits
    except ImportError as error:
        raise SimulationFailed(
            f"Data set {name} comes with scikit-learn: pip install 'starling-fl[simulate]'."
        ) from error
    found = {"digits": load_digits, "breast_cancer": load_breast_cancer}[name]()
    inputs = np.asarray(found.data, dtype=np.float64)
    if name == "digits":
        inputs = inputs / 16.0
    else:
        inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    labels = np.asarray(found.target, dtype=np.int64)
    samples = Samples(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels))
    rng = np.random.default_rng(TEST_SEED)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(DATA_SETS[name].classes):
        indices = rng.permutation(np.flatnonzero(labels == label))
        is_test[indices[: round(TEST_FRACTION * len(indices))]] = True
    return _where(samples, ~is_test), _where(samples, is_test)


def _where(samples: Samples, chosen: NDArray[np.bool_]) -> Samples:
    indices = torch.from_numpy(np.flatnonzero(chosen))
    return Samples(samples.inputs[indices], samples.labels[indices])
