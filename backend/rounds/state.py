"""States and transitions of trainings and rounds, as pure functions.

A training is INITIAL, then ONGOING, then COMPLETED or ERROR. While it is ongoing it has exactly one
round that is not CLOSED:

    COLLECTING ──all expected updates──> AGGREGATING ──callback──> TESTING ──all tests──> CLOSED
                                              └────────no tests wanted────────────────────> CLOSED

Constraints: a transition that is not in `TRANSITIONS` MUST NOT be written; each is written by
compare-and-swap, so that exactly one of several callers makes it.
"""

from collections.abc import Set as AbstractSet
from enum import StrEnum
from uuid import UUID

import msgspec


class TrainingState(StrEnum):
    """As the wire contract abbreviates it."""

    INITIAL = "I"
    ONGOING = "O"
    COMPLETED = "C"
    ERROR = "E"


class Phase(StrEnum):
    """What a round waits for."""

    COLLECTING = "collecting"
    AGGREGATING = "aggregating"
    TESTING = "testing"
    CLOSED = "closed"


TRANSITIONS: frozenset[tuple[Phase, Phase]] = frozenset(
    {
        (Phase.COLLECTING, Phase.AGGREGATING),
        (Phase.AGGREGATING, Phase.TESTING),
        (Phase.AGGREGATING, Phase.CLOSED),
        (Phase.TESTING, Phase.CLOSED),
    }
)

TRAINING_TRANSITIONS: frozenset[tuple[TrainingState, TrainingState]] = frozenset(
    {
        (TrainingState.INITIAL, TrainingState.ONGOING),
        (TrainingState.ONGOING, TrainingState.COMPLETED),
        (TrainingState.ONGOING, TrainingState.ERROR),
    }
)


class Plan(msgspec.Struct, frozen=True):
    """What the actor asked for, as far as it decides the course of a training.

    Attributes:
        rounds: How many aggregations, >= 1.
        skip_model_tests: No test at all.
        test_each_round: Test after every aggregation, not only after the last.
    """

    rounds: int
    skip_model_tests: bool = False
    test_each_round: bool = True


class OpenRound(msgspec.Struct, frozen=True):
    """Go on with this round."""

    index: int


class Complete(msgspec.Struct, frozen=True):
    """The training has reached its target."""


def phase_after_aggregation(plan: Plan, index: int) -> Phase:
    """What round `index` waits for once its global model is written."""
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
    """Whether a collecting round is complete: somebody delivered and nobody is missing."""
    return bool(delivered) and expected <= delivered


def all_tests_in(expected: AbstractSet[UUID], reported: AbstractSet[UUID]) -> bool:
    """Whether a testing round is complete; one without participants is."""
    return expected <= reported


def require_transition(before: Phase, after: Phase) -> None:
    """Raises ValueError for a transition that does not exist, which is a mistake of ours."""
    if (before, after) not in TRANSITIONS:
        message = f"a round cannot go from {before} to {after}"
        raise ValueError(message)
