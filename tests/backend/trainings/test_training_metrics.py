"""Metrics of a training as series: whose they are, what the mean is, and who sees which."""

import pytest

from tests.federations import Federation, MakeFederation, Person
from tests.model_files import drifted, tiny, torchscript

TESTED_EACH_ROUND = {"model_test_after_each_round": True}
SeriesOf = dict[tuple[str, str, str | None], list[list[float | None]]]


def answered(person: Person, federation: Federation) -> dict[str, object]:
    answer = person.client.get(f"/api/trainings/{federation.training_id}/metrics/")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def series_of(person: Person, federation: Federation) -> SeriesOf:
    """Points by key, kind and reporter."""
    return {
        (one["key"], one["kind"], one["reporter"]): one["points"]
        for one in answered(person, federation)["series"]  # type: ignore[attr-defined]
    }


def deliver(
    federation: Federation, person: Person, *, round: int, sample_size: int, **metrics: object
) -> None:
    answer = federation.upload(
        person,
        torchscript(drifted(tiny(), seed=round)),
        round=round,
        sample_size=sample_size,
        metric_names=list(metrics),
        metric_values=[str(value) for value in metrics.values()],
    )
    assert answer.status_code == 201, answer.text


@pytest.fixture
def federation(make_federation: MakeFederation) -> Federation:
    """Two rounds, each delivered and tested by both participants with other sample sizes."""
    federation = make_federation(rounds=2, options=TESTED_EACH_ROUND)
    first, second = federation.participants
    for round, sizes in enumerate([(1, 3), (30, 10)]):
        federation.wait_for_round(round)
        for person, size in zip((first, second), sizes, strict=True):
            deliver(federation, person, round=round, sample_size=size, loss=size)
        federation.wait_for_tests(round + 1)
        federation.report(first, 0.0)
        federation.report(second, 1.0)
    return federation


def test_the_actor_sees_everybody_and_the_weighted_mean(federation: Federation) -> None:
    first, second = (person.id for person in federation.participants)

    assert series_of(federation.actor, federation) == {
        ("accuracy", "test", None): [[1, 0.75], [2, 0.25]],
        ("accuracy", "test", first): [[1, 0.0], [2, 0.0]],
        ("accuracy", "test", second): [[1, 1.0], [2, 1.0]],
        # The weights are the values here: (1 + 9) / 4 and (900 + 100) / 40.
        ("loss", "update", None): [[0, 2.5], [1, 25.0]],
        ("loss", "update", first): [[0, 1.0], [1, 30.0]],
        ("loss", "update", second): [[0, 3.0], [1, 10.0]],
    }


def test_a_participant_learns_nothing_of_the_others_data(federation: Federation) -> None:
    first, second = federation.participants

    assert series_of(second, federation) == {
        # Not weighted: they may see both tests, and could solve for the sample sizes.
        ("accuracy", "test", None): [[1, 0.5], [2, 0.5]],
        ("accuracy", "test", second.id): [[1, 1.0], [2, 1.0]],
        ("loss", "update", second.id): [[0, 3.0], [1, 10.0]],
    }
    assert first.id not in str(answered(second, federation))


def test_the_main_metric_is_the_one_that_the_actor_named(federation: Federation) -> None:
    answer = answered(federation.actor, federation)

    assert answer["main"] == "accuracy"
    assert answer["complete"]
    assert [one["key"] for one in answer["series"]] == ["accuracy"] * 3 + ["loss"] * 3  # type: ignore[attr-defined]


def test_a_training_without_metrics_has_no_series(make_federation: MakeFederation) -> None:
    federation = make_federation()

    expected = {"main": None, "series": [], "complete": True}
    assert answered(federation.actor, federation) == expected
    assert answered(federation.participants[0], federation) == expected


def test_another_metric_is_the_main_one_where_the_named_one_has_no_values(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    deliver(federation, federation.participants[0], round=0, sample_size=1, loss=2, error=1)

    assert answered(federation.actor, federation)["main"] == "error"


def test_what_is_no_finite_number_is_null_and_counts_in_no_mean(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    first, second = federation.participants
    deliver(federation, first, round=0, sample_size=1, loss="nan", huge=1e308, tiny=5e-324)
    deliver(federation, second, round=0, sample_size=3, loss=2, huge=1e308, tiny=0, word="high")
    federation.wait_for_tests(1)
    federation.report(first, float("inf"))

    of_actor = series_of(federation.actor, federation)

    assert of_actor["loss", "update", None] == [[0, 2.0]]
    assert of_actor["loss", "update", first.id] == [[0, None]]
    assert of_actor["accuracy", "test", None] == [[1, None]]
    # No mean of such numbers fits where it is computed.
    assert of_actor["huge", "update", None] == [[0, None]]
    assert of_actor["huge", "update", first.id] == [[0, 1e308]]
    assert of_actor["tiny", "update", None] == [[0, 0.0]]
    assert not any(key == "word" for key, _, _ in of_actor)


def test_of_several_reports_the_last_counts(make_federation: MakeFederation) -> None:
    federation = make_federation()
    first, second = federation.participants
    for number, person in enumerate((first, second)):
        deliver(federation, person, round=0, sample_size=1 + number)
    federation.wait_for_tests(1)
    for value in (0.25, 0.5):
        federation.report(first, value)

    of_actor = series_of(federation.actor, federation)

    assert of_actor["accuracy", "test", first.id] == [[1, 0.5]]
    assert of_actor["accuracy", "test", None] == [[1, 0.5]]


def test_what_the_actor_measures_is_theirs_and_the_mean_only_without_participants(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    federation.report(federation.actor, 0.125)
    federation.report(federation.actor, 0.25, "loss")
    federation.report(federation.participants[0], 0.5)

    of_actor = series_of(federation.actor, federation)

    assert of_actor["accuracy", "test", None] == [[0, 0.5]]
    assert of_actor["accuracy", "test", federation.actor.id] == [[0, 0.125]]
    assert of_actor["loss", "test", None] == [[0, 0.25]]


def test_who_has_left_still_counts(federation: Federation) -> None:
    first, _ = federation.participants
    before = series_of(federation.actor, federation)
    answer = federation.actor.client.request(
        "DELETE",
        f"/api/trainings/{federation.training_id}/clients/",
        json={"clients": [first.id]},
    )
    assert answer.status_code == 200, answer.text

    assert series_of(federation.actor, federation) == before
    refused = first.client.get(f"/api/trainings/{federation.training_id}/metrics/")
    assert refused.status_code == 403
