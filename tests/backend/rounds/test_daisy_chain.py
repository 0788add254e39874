"""Who goes on with whose local model."""

from collections import Counter
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from backend.rounds.daisy_chain import hand_on

ids = st.lists(st.uuids(), min_size=1, max_size=8, unique=True)


@given(ids, st.data(), st.text(max_size=8))
def test_as_many_participants_as_models_get_a_permutation(
    participants: list[UUID], data: st.DataObject, seed: str
):
    count = len(participants)
    models = data.draw(st.lists(st.uuids(), min_size=count, max_size=count, unique=True))
    handed = hand_on(participants, models, seed)
    assert set(handed) == set(participants)
    assert sorted(handed.values()) == sorted(models)


@given(ids, ids, st.text(max_size=8))
def test_nobody_gets_two_models_and_no_model_two_participants(
    participants: list[UUID], models: list[UUID], seed: str
):
    handed = hand_on(participants, models, seed)
    assert len(handed) == min(len(participants), len(models))
    assert len(set(handed.values())) == len(handed)


@given(ids, ids, st.text(max_size=8))
def test_the_permutation_depends_on_the_seed_and_not_on_the_order_of_arrival(
    participants: list[UUID], models: list[UUID], seed: str
):
    handed = hand_on(participants, models, seed)
    assert handed == hand_on(participants[::-1], models[::-1], seed)


def test_every_permutation_of_three_is_about_equally_frequent():
    participants, models = sorted([uuid4() for _ in range(3)]), sorted([uuid4() for _ in range(3)])
    draws = Counter(
        tuple(hand_on(participants, models, f"seed {number}")[p] for p in participants)
        for number in range(6_000)
    )
    assert len(draws) == 6
    # 1,000 each on average, with a standard deviation below 29.
    assert all(850 < count < 1_150 for count in draws.values())
