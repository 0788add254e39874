"""Who holds which samples: every sample is in exactly one share, and no share is empty.

The Dirichlet partition is that of Hsu, Qi & Brown, "Measuring the Effects of Non-Identical Data
Distribution for Federated Visual Classification" (2019): for each class, a draw from
Dirichlet(alpha) says which fraction of its samples each participant holds. Small alpha: few classes
each; large: all alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def dirichlet_shares(
    labels: NDArray[np.int64], participants: int, *, alpha: float, seed: int
) -> list[NDArray[np.int64]]:
    """Indices of each participant's samples; together they hold every sample exactly once.

    A share that the draw left empty is given one sample of the largest share.

    Raises:
        ValueError: There are fewer samples than participants, or `alpha` is not positive.
    """
    _require_enough(len(labels), participants)
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, not {alpha}")
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(participants)]
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        proportions = rng.dirichlet(np.full(participants, alpha))
        cuts = np.round(np.cumsum(proportions)[:-1] * len(indices)).astype(np.int64)
        for part, piece in zip(parts, np.split(indices, cuts), strict=True):
            part.append(piece)
    shares = [rng.permutation(np.concatenate(part)) for part in parts]
    for position in range(participants):
        if len(shares[position]) == 0:
            largest = max(range(participants), key=lambda index: len(shares[index]))
            shares[position], shares[largest] = np.split(shares[largest], [1])
    return shares


def even_shares(samples: int, participants: int, *, seed: int) -> list[NDArray[np.int64]]:
    """Indices of each participant's samples, a random order cut evenly: sizes differ by 1 at most.

    Raises:
        ValueError: There are fewer samples than participants.
    """
    _require_enough(samples, participants)
    order = np.random.default_rng(seed).permutation(samples)
    return list(np.array_split(order, participants))


def given_shares(
    shares: Sequence[Sequence[int]], samples: int, participants: int
) -> list[NDArray[np.int64]]:
    """The shares as they are given; samples that nobody holds are left out.

    Raises:
        ValueError: There is not one share per participant, one is empty, an index is out of range,
            or a sample is in two shares.
    """
    if len(shares) != participants:
        raise ValueError(f"there are {len(shares)} shares for {participants} participants")
    owner: dict[int, int] = {}
    for position, share in enumerate(shares):
        if not share:
            raise ValueError(f"share {position} is empty")
        for index in share:
            if not 0 <= index < samples:
                raise ValueError(
                    f"share {position} has index {index}; there are samples 0 to {samples - 1}"
                )
            if owner.setdefault(index, position) != position:
                raise ValueError(f"shares {owner[index]} and {position} both have sample {index}")
        if len(set(share)) != len(share):
            raise ValueError(f"share {position} has a sample twice")
    return [np.array(share, dtype=np.int64) for share in shares]


def _require_enough(samples: int, participants: int) -> None:
    if not 1 <= participants <= samples:
        raise ValueError(f"{samples} samples cannot be shared by {participants} participants")
