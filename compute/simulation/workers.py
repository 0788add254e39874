"""Who trains the blocks of a round: workers of a cluster, or this very process."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from compute.contract import Rejected
from compute.simulation.contract import SimulationFailed
from compute.simulation.participants import Block, Trained, VirtualParticipants
from compute.state_dicts import StateDict, require_finite


class Workers(Protocol):
    """Take blocks and give back what came of them."""

    def train(self, base: StateDict, blocks: Sequence[Block]) -> Iterator[Trained]:
        """What came of each block, in the order of the blocks.

        Raises:
            SimulationFailed: a block cannot be trained.
        """
        ...

    def test(self, state: StateDict) -> dict[str, float]:
        """See `VirtualParticipants.test`."""
        ...


class InProcessWorkers:
    """One block after the other, here; on one thread, as a worker of a cluster has."""

    def __init__(self, participants: VirtualParticipants) -> None:
        self._participants = participants

    def train(self, base: StateDict, blocks: Sequence[Block]) -> Iterator[Trained]:
        """As they are asked for."""
        for block in blocks:
            with one_thread():
                trained = train_checked(self._participants, base, block)
            yield trained

    def test(self, state: StateDict) -> dict[str, float]:
        """Here and now."""
        with one_thread():
            return self._participants.test(state)


def train_checked(participants: VirtualParticipants, base: StateDict, block: Block) -> Trained:
    """What came of a block, all of it finite: a server refuses other updates.

    Raises:
        SimulationFailed: somebody's update is not; nothing would be learnt from going on.
    """
    trained = participants.train(base, block)
    try:
        require_finite(trained.states)
    except Rejected as rejected:
        raise SimulationFailed(
            f"Participant {_first_broken(block, trained.states)} diverged in round {block.round}: "
            "its update is not finite, and a server would refuse it. Lower the learning rate."
        ) from rejected
    return trained


def _first_broken(block: Block, states: Mapping[str, Tensor]) -> int:
    return next(
        participant
        for position, participant in enumerate(block.participants)
        if not all(bool(torch.isfinite(tensor[position]).all()) for tensor in states.values())
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have torch work on one thread: more would change the order, and so the bits, of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
