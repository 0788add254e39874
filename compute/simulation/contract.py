"""What the backend says to a simulation and hears from it; stdlib and msgspec only.

Participants are numbered from 0. Which of them take part in a round, deliver in time or drop out is
the backend's to decide; a simulation trains those that it is told to, and aggregates.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec

from compute.contract import Message

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class Features(Message, frozen=True, kw_only=True):
    """Shape of a data set: numbers per sample, and classes."""

    inputs: int
    classes: int


# Both come with scikit-learn; a fixed fifth of each class is the test set.
DATA_SETS = {
    "digits": Features(inputs=64, classes=10),
    "breast_cancer": Features(inputs=30, classes=2),
}


class Logistic(Message, frozen=True, kw_only=True, tag_field="kind", tag="logistic"):
    """Multinomial logistic regression: one linear layer."""


class Mlp(Message, frozen=True, kw_only=True, tag_field="kind", tag="mlp"):
    """Linear layers with ReLU in between.

    Attributes:
        layers: Widths, the inputs and the classes included: [64, 32, 10].
    """

    layers: Annotated[list[PositiveInt], msgspec.Meta(min_length=2, max_length=64)]


class Dirichlet(Message, frozen=True, kw_only=True, tag_field="kind", tag="dirichlet"):
    """Each class is shared by a draw from Dirichlet(alpha); small: few classes each."""

    alpha: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 0.5


class Even(Message, frozen=True, kw_only=True, tag_field="kind", tag="even"):
    """A random order of all samples, cut into shares of the same size."""


class Given(Message, frozen=True, kw_only=True, tag_field="kind", tag="given"):
    """The indices of each participant's samples, in a JSON file: a list of lists of integers."""

    file: str


class LocalTraining(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each participant does with the model: SGD on the cross-entropy of its own samples.

    Attributes:
        epochs: Passes over the share; None where `steps` is given.
        steps: Steps, as many passes as they take; None where `epochs` is given.
        batch_size: Samples per step; the last batch of a pass may be smaller.
    """

    epochs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    steps: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    batch_size: PositiveInt = 16
    learning_rate: Annotated[float, msgspec.Meta(gt=0, le=1e3)]
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, msgspec.Meta(ge=0, le=1e3)] = 0.0


class Classification(Message, frozen=True, kw_only=True):
    """Virtual participants that train a small network on a part of a well-known data set each.

    Attributes:
        shares: Of a `Given` partition: indices into the training samples, by participant.
        mu: Weight of FedProx's proximal term; 0 for none.
        seed: Decides shares, initial model and the order of samples.
    """

    data: str
    model: Logistic | Mlp
    participants: int
    partition: Dirichlet | Even | Given
    local: LocalTraining
    seed: int
    shares: list[list[int]] | None = None
    mu: float = 0.0


class Share(Message, frozen=True, kw_only=True):
    """What a participant holds; `classes` has its number of samples by class, if it has any."""

    samples: int
    classes: list[int] | None = None


class RoundTrained(Message, frozen=True, kw_only=True):
    """What came of the local training in a round.

    Attributes:
        samples: Sum of the sample sizes.
        metrics: Means over the participants, weighted by their sample sizes.
    """

    samples: int
    metrics: dict[str, float]


class Simulation(Protocol):
    """A federation whose participants are virtual.

    Constraints: the outcome depends on the calls and their order, and on nothing else: not on how
    many workers there are, nor on which of them does what.
    """

    @property
    def shares(self) -> list[Share]:
        """By participant."""
        ...

    def aggregate(self, round: int, participants: Sequence[int]) -> RoundTrained:
        """Train these and make the new global model of their updates, folded in this order.

        Raises:
            SimulationFailed: an update is of no use, or the training itself fails.
        """
        ...

    def hand_on(
        self, round: int, participants: Sequence[int], handed: Mapping[int, int]
    ) -> RoundTrained:
        """Train these; next round each goes on with the model of the one that it maps to.

        Args:
            handed: Participant to the one of `participants` whose local model it continues. Who is
                not in it starts from the global model.

        Raises:
            SimulationFailed: as above.
        """
        ...

    def test(self) -> dict[str, float]:
        """How the global model does on the common test set; empty where there is none."""
        ...

    def save(self, path: Path) -> None:
        """Write the global model as safetensors."""


class SimulationFailed(Exception):
    """The simulation cannot go on; the message says why and what to change."""


DataSetName = Literal["digits", "breast_cancer"]
