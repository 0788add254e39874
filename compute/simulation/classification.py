"""Virtual participants that classify: a part of a data set each, and a small perceptron."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from compute.simulation.contract import (
    DATA_SETS,
    Classification,
    Dirichlet,
    Even,
    Given,
    Share,
    SimulationFailed,
)
from compute.simulation.datasets import load
from compute.simulation.local_sgd import schedule, train_stacked
from compute.simulation.networks import perceptron, widths
from compute.simulation.participants import Block, Trained
from compute.simulation.partitions import dirichlet_shares, even_shares, given_shares
from compute.state_dicts import StateDict


class Classifiers:
    """Participants as `Classification` describes them; a block is trained as one stacked network.

    The order in which a participant goes through its samples depends on the seed, the round and the
    participant, not on who else takes part.

    Raises:
        SimulationFailed: the samples cannot be shared as asked for, or are not installed.
    """

    def __init__(self, described: Classification) -> None:
        self._described = described
        self._training, self._test = load(described.data)
        labels = self._training.labels.numpy()
        seed = described.seed
        try:
            shares = _partition(described, labels)
        except ValueError as error:
            raise SimulationFailed(f"participants.partition: {error}.") from error
        self._shares = [torch.from_numpy(share) for share in shares]
        classes = DATA_SETS[described.data].classes
        counts = [np.bincount(labels[share], minlength=classes) for share in shares]
        self._described_shares = [
            Share(samples=len(share), classes=count.tolist())
            for share, count in zip(shares, counts, strict=True)
        ]
        self._network = perceptron(
            widths(described.model, described.data), seed=seed_of(seed, "model")
        )

    def shares(self) -> Sequence[Share]:
        """Samples of each class, by participant."""
        return self._described_shares

    def initial(self) -> StateDict:
        """As torch initialises it, by the seed."""
        return {name: tensor.clone() for name, tensor in self._network.state_dict().items()}

    def train(self, base: StateDict, block: Block) -> Trained:
        """SGD on the cross-entropy of each participant's own samples, all at once."""
        count = len(block.participants)
        starts = block.starts or {
            name: tensor.expand(count, *tensor.shape) for name, tensor in base.items()
        }
        shares = [self._shares[participant] for participant in block.participants]
        generator = torch.Generator()
        schedules = []
        for participant, share in zip(block.participants, shares, strict=True):
            generator.manual_seed(seed_of(self._described.seed, block.round, participant))
            positions = schedule(len(share), self._described.local, generator)
            schedules.append(torch.where(positions < 0, positions, share[positions]))
        states, losses = train_stacked(
            starts,
            self._training.inputs,
            self._training.labels,
            schedules,
            self._described.local,
            mu=self._described.mu,
        )
        return Trained(
            states=states,
            sample_sizes=tuple(len(share) for share in shares),
            metrics={"loss": tuple(losses)},
        )

    @torch.no_grad()
    def test(self, state: StateDict) -> dict[str, float]:
        """Mean cross-entropy and accuracy on the test samples."""
        logits = torch.func.functional_call(self._network, state, (self._test.inputs,))
        labels = self._test.labels
        return {
            "loss": functional.cross_entropy(logits.double(), labels).item(),
            "accuracy": (logits.argmax(dim=1) == labels).double().mean().item(),
        }


def _partition(described: Classification, labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    count, seed = described.participants, described.seed
    match described.partition:
        case Dirichlet(alpha=alpha):
            return dirichlet_shares(labels, count, alpha=alpha, seed=seed)
        case Even():
            return even_shares(len(labels), count, seed=seed)
        case Given():
            return given_shares(described.shares or [], len(labels), count)


def seed_of(*parts: object) -> int:
    """A seed for torch that these parts decide, evenly spread whatever they are."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
