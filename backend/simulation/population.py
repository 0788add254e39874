"""Virtual participants as a server sees them: how long they take, and whether they deliver.

All times are of a clock that nobody waits for. Each draw has a generator of its own, named after
what is drawn: so it does not depend on who else takes part, or on what was drawn before.
"""

import math
import random
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec

Seconds = Annotated[float, msgspec.Meta(ge=0, le=366 * 86_400)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86_400)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Table(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    """A distribution, by its `kind`."""


class Constant(_Table, frozen=True, kw_only=True, tag="constant"):
    """All take the same time."""

    seconds: Seconds

    def draw(self, rng: random.Random) -> float:  # noqa: ARG002 - nothing is random about it
        """The time."""
        return self.seconds


class Uniform(_Table, frozen=True, kw_only=True, tag="uniform"):
    """Between two times, all alike."""

    least_seconds: Seconds
    most_seconds: Seconds

    def draw(self, rng: random.Random) -> float:
        """A time."""
        return rng.uniform(self.least_seconds, self.most_seconds)


class Exponential(_Table, frozen=True, kw_only=True, tag="exponential"):
    """Of this mean: few are slow, some very."""

    mean_seconds: PositiveSeconds

    def draw(self, rng: random.Random) -> float:
        """A time."""
        return rng.expovariate(1 / self.mean_seconds)


class LogNormal(_Table, frozen=True, kw_only=True, tag="lognormal"):
    """exp(N(log median, sigma²)): what response times often look like."""

    median_seconds: PositiveSeconds
    sigma: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.5

    def draw(self, rng: random.Random) -> float:
        """A time."""
        return rng.lognormvariate(math.log(self.median_seconds), self.sigma)


Response = Constant | Uniform | Exponential | LogNormal


class Stragglers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some participants always take `slowdown` times as long; each is one with this probability."""

    fraction: Fraction = 0.0
    slowdown: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 1.0


class DropOuts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a participant never delivers in a round that it was drawn for.

    Attributes:
        probability: Over all participants.
        concentration: How alike they are: each has a probability of its own, from a Beta
            distribution of this mean and α + β. Small: few always fail, the others never. None: all
            have the same.
    """

    probability: Fraction = 0.0
    concentration: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None


class Population:
    """All virtual participants of an experiment."""

    def __init__(
        self,
        count: int,
        *,
        response: Response,
        stragglers: Stragglers,
        drop_outs: DropOuts,
        seed: str,
    ) -> None:
        self._response = response
        self._seed = seed
        self.slowdowns: Sequence[float] = [
            stragglers.slowdown
            if self._rng("straggler", number).random() < stragglers.fraction
            else 1.0
            for number in range(count)
        ]
        self.drop_out_probabilities: Sequence[float] = [
            self._drop_out_probability(number, drop_outs) for number in range(count)
        ]

    def ids(self) -> list[UUID]:
        """By number, and in its order."""
        return [UUID(int=number) for number in range(len(self.slowdowns))]

    def answer_seconds(self, round: int, participant: int) -> float | None:
        """From the round's start to the participant's update; None: it drops out."""
        rng = self._rng("answer", round, participant)
        if rng.random() < self.drop_out_probabilities[participant]:
            return None
        return self._response.draw(rng) * self.slowdowns[participant]

    def _drop_out_probability(self, number: int, drop_outs: DropOuts) -> float:
        mean, concentration = drop_outs.probability, drop_outs.concentration
        if concentration is None or not 0 < mean < 1:
            return mean
        rng = self._rng("reliability", number)
        return rng.betavariate(mean * concentration, (1 - mean) * concentration)

    def _rng(self, *names: object) -> random.Random:
        return random.Random(":".join(map(str, (self._seed, *names))))  # noqa: S311 - reproducible on purpose
