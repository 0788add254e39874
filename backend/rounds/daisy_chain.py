"""Federated daisy chaining: who goes on with whose local model.

Source: Kamp, Fischer, Vreeken, "Federated Learning from Small Datasets", ICLR 2023, Algorithm 1.
"""

import random
from collections.abc import Sequence
from uuid import UUID


def hand_on(participants: Sequence[UUID], models: Sequence[UUID], seed: str) -> dict[UUID, UUID]:
    """Participant to the local model that they continue: a uniformly random permutation.

    Fixed points are allowed, as in the paper. When somebody joined or left since the models were
    delivered, who is left over starts from the global model, or a model is not continued.

    Args:
        seed: The same seed, participants and models give the same permutation, in any order.
    """
    order = sorted(models)
    random.Random(seed).shuffle(order)  # noqa: S311 - fair, and reproducible on purpose
    return dict(zip(sorted(participants), order, strict=False))
