"""States and transitions of trainings and rounds, as pure functions.

A training is INITIAL, then ONGOING, then COMPLETED or ERROR. While it is ongoing (in state S during
a SWAG round, else O) it has exactly one round that is not CLOSED:

    COLLECTING ────────────> CLOSED                       models are handed on (FedDC)
        └──> AGGREGATING ──> CLOSED                       no test wanted
                 ├─────────> TESTING ──> CLOSED
                 └─────────> COLLECTING_MOMENTS ──> AGGREGATING_MOMENTS ──> TESTING or CLOSED

A training that is aborted or given up goes to ERROR, and its round from any phase to CLOSED.

Constraints: a transition that is not in `TRANSITIONS` MUST NOT be written; each is written by
compare-and-swap, so that exactly one of several callers makes it.
"""

import math
import random
from collections.abc import Collection
from collections.abc import Set as AbstractSet
from enum import Enum, StrEnum, auto
from fractions import Fraction
from uuid import UUID

import msgspec


class TrainingState(StrEnum):
    """As the wire contract abbreviates it."""

    INITIAL = "I"
    ONGOING = "O"
    SWAG_ROUND = "S"
    COMPLETED = "C"
    ERROR = "E"


class Phase(StrEnum):
    """What a round waits for."""

    COLLECTING = "collecting"
    AGGREGATING = "aggregating"
    COLLECTING_MOMENTS = "collecting_moments"
    AGGREGATING_MOMENTS = "aggregating_moments"
    TESTING = "testing"
    CLOSED = "closed"


TRANSITIONS: frozenset[tuple[Phase, Phase]] = frozenset(
    {
        (Phase.COLLECTING, Phase.AGGREGATING),
        (Phase.COLLECTING, Phase.CLOSED),
        (Phase.AGGREGATING, Phase.COLLECTING_MOMENTS),
        (Phase.AGGREGATING, Phase.TESTING),
        (Phase.AGGREGATING, Phase.CLOSED),
        (Phase.COLLECTING_MOMENTS, Phase.AGGREGATING_MOMENTS),
        (Phase.COLLECTING_MOMENTS, Phase.CLOSED),
        (Phase.AGGREGATING_MOMENTS, Phase.TESTING),
        (Phase.AGGREGATING_MOMENTS, Phase.CLOSED),
        (Phase.TESTING, Phase.CLOSED),
    }
)

RUNNING: frozenset[TrainingState] = frozenset({TrainingState.ONGOING, TrainingState.SWAG_ROUND})

MOMENT_PHASES: frozenset[Phase] = frozenset({Phase.COLLECTING_MOMENTS, Phase.AGGREGATING_MOMENTS})
COLLECTING_PHASES: frozenset[Phase] = frozenset({Phase.COLLECTING, Phase.COLLECTING_MOMENTS})
# Phases that wait for participants, and may have a deadline.
WAITING_PHASES: frozenset[Phase] = COLLECTING_PHASES | {Phase.TESTING}


class Plan(msgspec.Struct, frozen=True):
    """What the actor asked for, as far as it decides the course of a training.

    Attributes:
        rounds: How many rounds of local training, >= 1.
        skip_model_tests: No test at all.
        test_each_round: Test after every aggregation, not only after the last.
        daisy_chain_period: Rounds of local training behind one aggregation, >= 1.
        swag: After an aggregation, participants send SWAG moments.
        quorum: How many of the cohort are enough at the deadline: a count >= 1 or a fraction < 1;
            None: all of them.
    """

    rounds: int
    skip_model_tests: bool = False
    test_each_round: bool = True
    daisy_chain_period: int = 1
    swag: bool = False
    quorum: int | float | None = None


class OpenRound(msgspec.Struct, frozen=True):
    """Go on with this round."""

    index: int


class Complete(msgspec.Struct, frozen=True):
    """The training has reached its target."""


def phase_after_collection(plan: Plan, index: int) -> Phase:
    """What becomes of round `index` once every expected update is in.

    Daisy chaining aggregates where (index + 1) mod period = 0 (Kamp et al. 2023, Alg. 1), and hands
    the local models on elsewhere; the last round aggregates, or the training would end without.
    """
    aggregates = (index + 1) % plan.daisy_chain_period == 0 or is_last(plan, index)
    return Phase.AGGREGATING if aggregates else Phase.CLOSED


def phase_after_aggregation(plan: Plan, index: int) -> Phase:
    """What round `index` waits for once its global model is written."""
    return Phase.COLLECTING_MOMENTS if plan.swag else phase_after_moments(plan, index)


def phase_after_moments(plan: Plan, index: int) -> Phase:
    """What round `index` waits for once nothing is left to aggregate."""
    if plan.skip_model_tests or not (plan.test_each_round or is_last(plan, index)):
        return Phase.CLOSED
    return Phase.TESTING


def step_after(plan: Plan, index: int) -> OpenRound | Complete:
    """What follows when round `index` is closed."""
    return Complete() if is_last(plan, index) else OpenRound(index + 1)


def is_last(plan: Plan, index: int) -> bool:
    """Whether no round follows round `index`."""
    return index + 1 >= plan.rounds


def all_updates_in(expected: AbstractSet[UUID], delivered: AbstractSet[UUID]) -> bool:
    """Whether a collection is complete: somebody delivered and nobody is missing."""
    return bool(delivered) and expected <= delivered


def all_tests_in(expected: AbstractSet[UUID], reported: AbstractSet[UUID]) -> bool:
    """Whether a testing round is complete; one without participants is."""
    return expected <= reported


class AtDeadline(Enum):
    """What becomes of a collection at its deadline."""

    CLOSE = auto()
    EXTEND = auto()
    GIVE_UP = auto()


def quorum_of(quorum: float | None, expected: int) -> int:
    """How many deliveries are enough at the deadline, of `expected` participants; at least one.

    A count stands as it is, also above `expected`: it is the least that the actor aggregates.
    """
    if quorum is None:
        return max(1, expected)
    return quorum if isinstance(quorum, int) else _part_of(quorum, expected)


def at_deadline(*, delivered: int, needed: int, extended: bool) -> AtDeadline:
    """Close with a quorum; without, wait as long again, but only once."""
    if delivered >= needed:
        return AtDeadline.CLOSE
    return AtDeadline.GIVE_UP if extended else AtDeadline.EXTEND


def draw_cohort(participants: Collection[UUID], size: float, seed: str) -> list[UUID]:
    """Who takes part in a round: a uniformly random sample without replacement, sorted.

    Args:
        size: A count, of which all are drawn when there are fewer; or a fraction < 1, rounded up.
        seed: The same seed and participants, in any order, give the same cohort.
    """
    count = size if isinstance(size, int) else _part_of(size, len(participants))
    everybody = sorted(participants)
    drawn = random.Random(seed).sample(everybody, min(count, len(everybody)))  # noqa: S311 - fair, and reproducible on purpose
    return sorted(drawn)


def _part_of(fraction: float, total: int) -> int:
    """The fraction of a whole, rounded up, at least 1; in decimals: 0.07 of 100 is 7, not 8."""
    return max(1, math.ceil(Fraction(repr(fraction)) * total))


def require_transition(before: Phase, after: Phase) -> None:
    """Raises ValueError for a transition that does not exist, which is a mistake of ours."""
    if (before, after) not in TRANSITIONS:
        message = f"a round cannot go from {before} to {after}"
        raise ValueError(message)
