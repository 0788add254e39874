"""The course of a training, as pure functions."""

import itertools
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.rounds.state import (
    TRANSITIONS,
    AtDeadline,
    Complete,
    OpenRound,
    Phase,
    Plan,
    all_tests_in,
    all_updates_in,
    at_deadline,
    draw_cohort,
    phase_after_aggregation,
    phase_after_collection,
    phase_after_moments,
    quorum_of,
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
fractions = st.integers(1, 99).map(lambda percent: percent / 100)
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


@given(participants=st.frozensets(st.uuids(), max_size=40), size=st.integers(1, 50), seed=st.text())
def test_a_cohort_is_a_sample_that_depends_on_nothing_but_seed_and_participants(
    participants: frozenset[UUID], size: int, seed: str
):
    cohort = draw_cohort(participants, size, seed)
    assert len(set(cohort)) == len(cohort) == min(size, len(participants))
    assert set(cohort) <= participants
    assert draw_cohort(sorted(participants, reverse=True), size, seed) == cohort


def test_every_participant_is_drawn_about_equally_often():
    everybody = [UUID(int=k) for k in range(10)]
    drawn = [one for seed in range(2000) for one in draw_cohort(everybody, 0.3, str(seed))]
    # 600 each in the mean; a fair draw leaves this band of five standard deviations hardly ever.
    assert all(abs(drawn.count(one) - 600) < 103 for one in everybody)


@given(fraction=fractions, expected=st.integers(1, 5_000))
def test_a_fraction_is_rounded_up_in_decimals(fraction: float, expected: int):
    percent = round(fraction * 100)
    assert quorum_of(fraction, expected) == -(-percent * expected // 100)


@given(expected=st.integers(0, 100), count=st.integers(1, 200))
def test_a_quorum_is_at_least_one_a_count_stands_and_all_is_the_default(expected: int, count: int):
    assert quorum_of(None, expected) == max(1, expected)
    assert quorum_of(count, expected) == count
    assert quorum_of(0.01, expected) >= 1


@given(delivered=st.integers(0, 9), needed=st.integers(1, 9), extended=st.booleans())
def test_a_deadline_closes_with_a_quorum_and_extends_only_once(
    delivered: int, needed: int, extended: bool
):
    decision = at_deadline(delivered=delivered, needed=needed, extended=extended)
    assert (decision is AtDeadline.CLOSE) == (delivered >= needed)
    assert (decision is AtDeadline.EXTEND) <= (not extended)
