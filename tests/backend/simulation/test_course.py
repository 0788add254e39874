"""Rounds end as a server ends them; the same seed draws the same."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.rounds.state import quorum_of
from backend.simulation import Experiment, RoundReport
from backend.simulation.course import Answer, Outcome, collect, rounds
from backend.simulation.population import (
    Constant,
    DropOuts,
    Exponential,
    LogNormal,
    Population,
    Response,
    Stragglers,
    Uniform,
)
from compute.simulation.contract import RoundTrained, Share

times = st.floats(0.0, 500.0)
answers = st.dictionaries(st.integers(0, 10**6), st.none() | times, min_size=1, max_size=30)
quorums = st.none() | st.integers(1, 30) | st.floats(0.01, 0.99)


class Recorded:
    """A simulation that only notes what it is told."""

    def __init__(self, count: int) -> None:
        self.shares = [Share(samples=1) for _ in range(count)]
        self.calls: list[tuple[object, ...]] = []

    def aggregate(self, round: int, participants: Sequence[int]) -> RoundTrained:
        self.calls.append(("aggregate", round, list(participants)))
        return RoundTrained(samples=len(participants), metrics={})

    def hand_on(
        self, round: int, participants: Sequence[int], handed: Mapping[int, int]
    ) -> RoundTrained:
        self.calls.append(("hand_on", round, list(participants), dict(handed)))
        return RoundTrained(samples=len(participants), metrics={})

    def test(self) -> dict[str, float]:
        self.calls.append(("test",))
        return {"accuracy": 0.5}

    def save(self, path: Path) -> None:
        raise NotImplementedError


def run(**given: object) -> tuple[list[RoundReport], Recorded]:
    experiment = msgspec.convert({"rounds": 3, **given}, Experiment)
    experiment.check()
    recorded = Recorded(experiment.participants.count)
    return list(rounds(experiment, recorded)), recorded


def without_wall(reports: list[RoundReport]) -> list[RoundReport]:
    return [msgspec.structs.replace(report, wall_seconds=0.0) for report in reports]


@given(answers=answers, quorum=quorums, deadline=st.floats(1.0, 300.0))
def test_a_round_ends_with_all_or_at_the_first_deadline_with_a_quorum(
    answers: dict[int, float | None], quorum: float | None, deadline: float
) -> None:
    found = collect(answers, quorum=quorum, deadline_seconds=deadline)

    def delivered_by(moment: float) -> set[int]:
        return {number for number, at in answers.items() if at is not None and at <= moment}

    needed = quorum_of(quorum, len(answers))
    assert set(found.delivered) | set(found.dropped_out) | set(found.late) == set(answers)
    assert found.delivered == sorted(delivered_by(found.seconds))
    assert found.needed == needed
    if len(found.delivered) == len(answers):
        assert found.seconds == max(at for at in answers.values() if at is not None)
        assert found.seconds <= 2 * deadline
        assert not found.gave_up
    else:
        assert found.seconds in {deadline, 2 * deadline}
        assert found.gave_up == (len(delivered_by(2 * deadline)) < needed)
    assert found.extended == (found.seconds > deadline)
    if found.extended:
        assert len(delivered_by(deadline)) < needed


def test_without_a_deadline_a_round_waits_for_the_last() -> None:
    found = collect({4: 10.0, 2: 900.0}, quorum=None, deadline_seconds=None)
    assert (found.delivered, found.seconds, found.extended) == ([2, 4], 900.0, False)


def test_without_a_deadline_nobody_may_stay_away() -> None:
    with pytest.raises(ValueError, match="no deadline"):
        collect({4: 10.0, 2: None}, quorum=None, deadline_seconds=None)


def test_a_round_without_a_quorum_is_the_last() -> None:
    reports, recorded = run(
        participants={"count": 10, "drop_outs": {"probability": 1.0}},
        options={"round_deadline_seconds": 30},
    )
    (report,) = reports
    assert report.outcome is Outcome.GIVEN_UP
    assert (report.delivered, report.needed, report.extended) == (0, 10, True)
    assert report.ended_seconds == 60
    assert recorded.calls == []


def test_the_clock_goes_on_from_round_to_round() -> None:
    reports, _ = run(participants={"count": 4, "response": {"kind": "constant", "seconds": 7}})
    assert [report.started_seconds for report in reports] == [0, 7, 14]
    assert [report.ended_seconds for report in reports] == [7, 14, 21]


def test_a_cohort_is_drawn_anew_for_each_round_and_only_who_delivers_is_trained() -> None:
    reports, recorded = run(
        rounds=5,
        participants={
            "count": 100,
            "response": {"kind": "uniform", "least_seconds": 0, "most_seconds": 100},
            "drop_outs": {"probability": 0.1},
        },
        options={"cohort": 0.2, "quorum": 0.1, "round_deadline_seconds": 50},
    )
    trained = [call[2] for call in recorded.calls if call[0] == "aggregate"]
    delivered = [
        [each.participant for each in report.participations if each.answer is Answer.DELIVERED]
        for report in reports
    ]
    assert delivered == trained
    assert len({tuple(members) for members in trained}) == 5
    for report in reports:
        assert report.drawn == 20
        assert report.delivered + report.late + report.dropped_out == 20
    assert sum(report.late for report in reports) > 0


def test_who_misses_a_deadline_may_be_removed() -> None:
    reports, _ = run(
        rounds=4,
        participants={"count": 50, "drop_outs": {"probability": 0.3}},
        options={"on_missed": "remove", "quorum": 1, "round_deadline_seconds": 50},
    )
    for earlier, later in pairwise(reports):
        assert later.drawn == earlier.delivered


def test_the_same_seed_gives_the_same_course_and_another_gives_another() -> None:
    def course(seed: int) -> list[RoundReport]:
        reports, _ = run(
            seed=seed,
            participants={
                "count": 60,
                "response": {"kind": "lognormal", "median_seconds": 20},
                "stragglers": {"fraction": 0.2, "slowdown": 5},
                "drop_outs": {"probability": 0.2, "concentration": 2},
            },
            options={"cohort": 30, "quorum": 3, "round_deadline_seconds": 40},
        )
        return without_wall(reports)

    assert course(1) == course(1)
    assert course(1) != course(2)


def test_models_are_handed_on_between_aggregations() -> None:
    reports, recorded = run(
        rounds=4,
        aggregation_method="FedDC",
        participants={"count": 5},
        options={"daisy_chain_period": 2},
    )
    assert [report.outcome for report in reports] == [
        Outcome.HANDED_ON,
        Outcome.AGGREGATED,
        Outcome.HANDED_ON,
        Outcome.AGGREGATED,
    ]
    handed = [call[3] for call in recorded.calls if call[0] == "hand_on"]
    for each in handed:
        assert isinstance(each, dict)
        assert sorted(each) == sorted(each.values()) == list(range(5))


@pytest.mark.parametrize(
    ("options", "tested"),
    [
        ({}, [True, True, True]),
        ({"model_test_after_each_round": False}, [False, False, True]),
        ({"skip_model_tests": True}, [False, False, False]),
    ],
)
def test_the_model_is_tested_when_a_server_would(
    options: dict[str, object], tested: list[bool]
) -> None:
    reports, _ = run(participants={"count": 3}, options=options)
    assert [bool(report.test) for report in reports] == tested


@pytest.mark.parametrize(
    ("response", "median"),
    [
        (Constant(seconds=3.0), 3.0),
        (Uniform(least_seconds=2.0, most_seconds=6.0), 4.0),
        (Exponential(mean_seconds=10.0), 10.0 * math.log(2)),
        (LogNormal(median_seconds=20.0, sigma=0.5), 20.0),
    ],
)
def test_answers_come_by_their_distribution(response: Response, median: float) -> None:
    population = Population(
        4000, response=response, stragglers=Stragglers(), drop_outs=DropOuts(), seed="0"
    )
    found = sorted(population.answer_seconds(0, number) or 0.0 for number in range(4000))
    assert found[2000] == pytest.approx(median, rel=0.08)


def test_stragglers_and_drop_outs_are_as_many_as_they_should_be() -> None:
    population = Population(
        4000,
        response=Constant(seconds=1.0),
        stragglers=Stragglers(fraction=0.25, slowdown=8.0),
        drop_outs=DropOuts(probability=0.1),
        seed="0",
    )
    found = [population.answer_seconds(3, number) for number in range(4000)]
    assert found.count(None) == pytest.approx(400, abs=80)
    assert found.count(8.0) == pytest.approx(900, abs=120)
    assert set(found) == {None, 1.0, 8.0}


def test_reliability_may_differ_between_participants() -> None:
    population = Population(
        4000,
        response=Constant(seconds=1.0),
        stragglers=Stragglers(),
        drop_outs=DropOuts(probability=0.2, concentration=0.1),
        seed="0",
    )
    chances = population.drop_out_probabilities
    assert sum(chances) / len(chances) == pytest.approx(0.2, abs=0.03)
    assert sum(0.05 < chance < 0.95 for chance in chances) < 800
