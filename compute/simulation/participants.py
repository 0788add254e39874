"""What virtual participants are to a worker that trains them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from compute.simulation.contract import Share
from compute.state_dicts import StateDict


@dataclass(frozen=True)
class Block:
    """Participants that are trained together, in one call to one worker.

    What is in a block is decided by the round alone, never by the number of workers: a network that
    is trained beside others may come out different in the last bit from one that is trained alone.

    Attributes:
        starts: The models that they start from, stacked, each tensor of shape (participants, …);
            None: all start from the global model.
    """

    round: int
    participants: tuple[int, ...]
    starts: StateDict | None = None


@dataclass(frozen=True)
class Trained:
    """The outcome of a block, in the order of its participants.

    Attributes:
        states: Local models, stacked: each tensor of shape (participants, …).
        sample_sizes: Numbers of samples behind them, each >= 1.
        metrics: By name, one value per participant.
    """

    states: StateDict
    sample_sizes: tuple[int, ...]
    metrics: dict[str, tuple[float, ...]]


class VirtualParticipants(Protocol):
    """Participants of a simulation, with their data.

    Constraints: must be picklable, for every worker is handed a copy. A call gives the same result
    whenever it is repeated, on any worker, whatever was called before.
    """

    def shares(self) -> Sequence[Share]:
        """What each of them holds."""
        ...

    def initial(self) -> StateDict:
        """The first global model."""
        ...

    def train(self, base: StateDict, block: Block) -> Trained:
        """The local training of a block's participants; `base`, the global model, is not modified.

        Raises:
            SimulationFailed: it cannot be done; says why.
        """
        ...

    def test(self, state: StateDict) -> dict[str, float]:
        """How a model does on the common test set; empty where there is none."""
        ...
