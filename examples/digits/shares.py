"""Splits scikit-learn's digits into one test set and a share per participant.

The split is the one that simulations use: a Dirichlet draw per class.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compute.simulation.partitions import dirichlet_shares

__all__ = ["Samples", "dirichlet_shares", "load_samples", "split_test"]

NUM_CLASSES = 10
TEST_FRACTION = 0.2
# The test set is the same whatever the seed of a run, so that accuracies can be compared.
TEST_SEED = 20_190_913


@dataclass(frozen=True)
class Samples:
    """Images, float32, shape (n, 1, 8, 8), in [0, 1]; labels, int64, shape (n,), in [0, 10)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "Samples":
        return Samples(self.images[indices], self.labels[indices])

    def save(self, path: Path) -> None:
        np.savez(path, images=self.images, labels=self.labels)

    @staticmethod
    def load(path: Path) -> "Samples":
        with np.load(path, allow_pickle=False) as arrays:
            return Samples(arrays["images"], arrays["labels"])


def load_samples() -> Samples:
    """All 1,797 images of scikit-learn's bundled `load_digits`."""
    from sklearn.datasets import load_digits  # 1 s to import, and only the demo's parent needs it

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]  # (1797, 1, 8, 8)
    return Samples(images, digits.target.astype(np.int64))


def split_test(samples: Samples) -> tuple[Samples, Samples]:
    """The samples to train on, and a fixed test set that holds 20 % of every class."""
    rng = np.random.default_rng(TEST_SEED)
    test: list[NDArray[np.int64]] = []
    for label in range(NUM_CLASSES):
        indices = rng.permutation(np.flatnonzero(samples.labels == label))
        test.append(indices[: round(TEST_FRACTION * len(indices))])
    held_out = np.zeros(len(samples), dtype=bool)
    held_out[np.concatenate(test)] = True
    return samples.take(np.flatnonzero(~held_out)), samples.take(np.flatnonzero(held_out))
