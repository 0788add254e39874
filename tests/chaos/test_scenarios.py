"""Campaigns are dealt as promised: every kind of kill has its share, and seeds repeat them."""

import itertools
from collections import Counter

import pytest

from tests.chaos.lessons import Lessons, first_difference
from tests.chaos.scenarios import Database, Kill, Moment, campaign


def test_each_kind_of_kill_comes_at_least_ten_times_in_a_hundred_runs() -> None:
    for seed in range(5):
        kills = Counter(s.kill for c in campaign(seed, 100, list(Database)) for s in c.strikes)
        assert min(kills[kill] for kill in Kill) >= 30
        assert max(kills.values()) - min(kills.values()) <= 1


def test_each_kind_comes_at_each_moment_in_a_hundred_runs() -> None:
    pairs = {(s.kill, s.moment) for c in campaign(0, 100, [Database.SQLITE]) for s in c.strikes}
    assert pairs == {(kill, moment) for kill in Kill for moment in Moment}


def test_a_seed_gives_the_same_campaign_and_a_longer_one_begins_with_it() -> None:
    assert campaign(3, 20, list(Database)) == campaign(3, 40, list(Database))[:20]
    assert campaign(3, 20, list(Database)) != campaign(4, 20, list(Database))


def test_every_strike_has_its_occasion() -> None:
    for scenario in campaign(1, 200, list(Database)):
        assert 2 <= len(scenario.sample_sizes) <= 5
        assert sum(scenario.sample_sizes) == 8
        assert 1 <= len(scenario.strikes) <= 3
        for strike in scenario.strikes:
            assert 0 <= strike.round < scenario.rounds
            assert 1 <= strike.turn <= len(scenario.sample_sizes)


@pytest.mark.parametrize("order", [1, -1])
def test_the_expected_model_does_not_depend_on_the_order_of_addition(order: int) -> None:
    sizes = (1, 2, 1, 4)
    lessons = Lessons(seed=5, sample_sizes=sizes, width=8)
    course = lessons.course(3)
    for round, (before, after) in enumerate(itertools.pairwise(course)):
        updates = [(size, lessons.trained(before, round, k)) for k, size in enumerate(sizes)]
        mean = {name: 0 * array for name, array in before.items()}
        for size, update in updates[::order]:
            mean = {name: mean[name] + size * update[name] for name in mean}  # in float32
        assert first_difference({name: mean[name] / 8 for name in mean}, after) is None


def test_what_would_be_rounded_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        Lessons(seed=0, sample_sizes=(1, 2))
    with pytest.raises(ValueError, match="more bits"):
        Lessons(seed=0, sample_sizes=(1, 2**20 - 1), width=8).course(1)


def test_models_that_differ_in_one_bit_are_told_apart() -> None:
    model = Lessons(seed=0, sample_sizes=(1, 7), width=8).untrained()
    other = {name: array.copy() for name, array in model.items()}
    assert first_difference(other, model) is None
    other["bias"].view("uint32")[3] ^= 1
    difference = first_difference(other, model)
    assert difference is not None
    assert "bias differs in 1 of 8 values, first at 3" in difference
