"""States and transitions of trainings and rounds, as pure functions.

A training is INITIAL, then ONGOING, then COMPLETED or ERROR. While it is ongoing (in state S during
a SWAG round, else O) it has exactly one round that is not CLOSED:

    COLLECTING ────────────> CLOSED                       models are handed on (FedDC)
        └──> AGGREGATING ──> CLOSED                       no test wanted
                 ├─────────> TESTING ──> CLOSED
                 └─────────> COLLECTING_MOMENTS ──> AGGREGATING_MOMENTS ──> TESTING or CLOSED

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
        (Phase.AGGREGATING_MOMENTS, Phase.TESTING),
        (Phase.AGGREGATING_MOMENTS, Phase.CLOSED),
        (Phase.TESTING, Phase.CLOSED),
    }
)

RUNNING: frozenset[TrainingState] = frozenset({TrainingState.ONGOING, TrainingState.SWAG_ROUND})

MOMENT_PHASES: frozenset[Phase] = frozenset({Phase.COLLECTING_MOMENTS, Phase.AGGREGATING_MOMENTS})


class Plan(msgspec.Struct, frozen=True):
    """What the actor asked for, as far as it decides the course of a training.

    Attributes:
        rounds: How many rounds of local training, >= 1.
        skip_model_tests: No test at all.
        test_each_round: Test after every aggregation, not only after the last.
        daisy_chain_period: Rounds of local training behind one aggregation, >= 1.
        swag: After an aggregation, participants send SWAG moments.
    """

    rounds: int
    skip_model_tests: bool = False
    test_each_round: bool = True
    daisy_chain_period: int = 1
    swag: bool = False


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


def require_transition(before: Phase, after: Phase) -> None:
    """Raises ValueError for a transition that does not exist, which is a mistake of ours."""
    if (before, after) not in TRANSITIONS:
        message = f"a round cannot go from {before} to {after}"
        raise ValueError(message)
