"""The course of a training, as pure functions."""

import itertools
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.rounds.state import (
    TRANSITIONS,
    Complete,
    OpenRound,
    Phase,
    Plan,
    all_tests_in,
    all_updates_in,
    phase_after_aggregation,
    phase_after_collection,
    phase_after_moments,
    require_transition,
    step_after,
)

plans = st.builds(
    Plan,
    rounds=st.integers(1, 30),
    skip_model_tests=st.booleans(),
    test_each_round=st.booleans(),
    daisy_chain_period=st.integers(1, 7),
    swag=st.booleans(),
)
users = st.frozensets(st.uuids(), max_size=6)


def course_of(plan: Plan) -> list[tuple[int, Phase]]:
    """Every (round, phase) that a training goes through when everybody delivers."""
    course: list[tuple[int, Phase]] = []
    step: OpenRound | Complete = OpenRound(0)
    while isinstance(step, OpenRound):
        index, phase = step.index, Phase.COLLECTING
        while phase is not Phase.CLOSED:
            course.append((index, phase))
            match phase:
                case Phase.COLLECTING:
                    after = phase_after_collection(plan, index)
                case Phase.AGGREGATING:
                    after = phase_after_aggregation(plan, index)
                case Phase.COLLECTING_MOMENTS:
                    after = Phase.AGGREGATING_MOMENTS
                case Phase.AGGREGATING_MOMENTS:
                    after = phase_after_moments(plan, index)
                case _:
                    after = Phase.CLOSED
            require_transition(phase, after)
            phase = after
        step = step_after(plan, index)
    return course


@given(plans)
def test_every_round_collects_once_and_in_order(plan: Plan):
    collected = [index for index, phase in course_of(plan) if phase is Phase.COLLECTING]
    assert collected == list(range(plan.rounds))


@given(plans)
def test_rounds_aggregate_once_per_daisy_chain_period_and_at_the_end(plan: Plan):
    aggregated = [index for index, phase in course_of(plan) if phase is Phase.AGGREGATING]
    period = plan.daisy_chain_period
    wanted = {index for index in range(plan.rounds) if (index + 1) % period == 0}
    assert set(aggregated) == wanted | {plan.rounds - 1}
    assert len(aggregated) == len(set(aggregated))


@given(plans)
def test_moments_follow_each_aggregation_of_a_swag_training_and_no_other(plan: Plan):
    course = course_of(plan)
    aggregated = [index for index, phase in course if phase is Phase.AGGREGATING]
    moments = [index for index, phase in course if phase is Phase.COLLECTING_MOMENTS]
    assert moments == (aggregated if plan.swag else [])


@given(plans)
def test_tests_follow_aggregations_as_far_as_the_plan_wants_them(plan: Plan):
    course = course_of(plan)
    aggregated = [index for index, phase in course if phase is Phase.AGGREGATING]
    tested = [index for index, phase in course if phase is Phase.TESTING]
    if plan.skip_model_tests:
        assert tested == []
    elif plan.test_each_round:
        assert tested == aggregated
    else:
        assert tested == [plan.rounds - 1]


def test_transitions_that_do_not_exist_are_refused():
    for before, after in set(itertools.product(Phase, Phase)) - TRANSITIONS:
        with pytest.raises(ValueError, match=f"from {before} to {after}"):
            require_transition(before, after)


@given(expected=users, delivered=users)
def test_a_collection_is_complete_when_somebody_delivered_and_nobody_is_missing(
    expected: frozenset[UUID], delivered: frozenset[UUID]
):
    assert all_updates_in(expected, delivered) == (
        len(delivered) > 0 and all(user in delivered for user in expected)
    )


def test_an_empty_collection_is_never_complete():
    assert not all_updates_in(frozenset(), frozenset())


def test_a_test_round_without_participants_is_complete():
    assert all_tests_in(frozenset(), frozenset())
