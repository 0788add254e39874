"""Whole trainings over real HTTP: every participant receives webhooks and answers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from tests.federations import Federation, MakeFederation, Person
from tests.model_files import (
    assert_within_one_ulp,
    drifted,
    federated_average,
    pickled,
    tiny,
    torchscript,
    weights,
)
from tests.servers import Server


@pytest.mark.parametrize("container", [torchscript, pickled])
def test_a_training_of_two_participants_and_two_rounds(
    make_federation: MakeFederation, container: Callable[..., bytes]
) -> None:
    federation = make_federation(participants=2, rounds=2, model=container(tiny()))
    first, second = federation.participants

    for round, sizes in enumerate([(10, 30), (7, 1)]):
        base = federation.weights()
        updates = [
            container(drifted(tiny(seed=round), seed=10 * round + k, batches=3 + 2 * k))
            for k in range(2)
        ]
        for participant, content, size in zip(federation.participants, updates, sizes, strict=True):
            answer = federation.upload(participant, content, round=round, sample_size=size)
            assert answer.status_code == 201, answer.text
        federation.wait_for_tests(round + 1)
        expected = federated_average(
            [(size, weights(content)) for size, content in zip(sizes, updates, strict=True)]
        )
        assert_within_one_ulp(federation.weights(), expected)
        assert any((base[name] != expected[name]).any() for name in base)
        metadata = first.client.get(f"/api/models/{federation.model_id}/metadata/").json()
        assert metadata["round"] == round + 1
        federation.report(first, 0.5 + round)
        assert federation.training()["state"] == "O"
        federation.report(second, 0.25 + round)
        if round == 0:
            federation.wait_for_round(1)

    for person in (first, second, federation.actor):
        federation.told(person, "TRAINING_FINISHED")
    assert federation.training()["state"] == "C"
    assert_reported(
        federation, [(1, first, 0.5), (1, second, 0.25), (2, first, 1.5), (2, second, 1.25)]
    )
    for participant in (first, second):
        assert contract_part(federation, participant) == expected_notifications(federation)
    assert contract_part(federation, federation.actor) == expected_notifications(federation)[-1:]


def expected_notifications(federation: Federation) -> list[dict[str, object]]:
    """What the contract sends to each participant in two rounds."""
    model = {"global_model_uuid": federation.model_id}
    return [
        {"notification_type": kind, "training_uuid": federation.training_id, "body": body}
        for kind, body in [
            ("TRAINING_START", model),
            ("UPDATE_ROUND_START", {"round": 0, **model}),
            ("MODEL_TEST_ROUND", {"round": 1, **model}),
            ("UPDATE_ROUND_START", {"round": 1, **model}),
            ("MODEL_TEST_ROUND", {"round": 2, **model}),
            ("TRAINING_FINISHED", model),
        ]
    ]


def contract_part(federation: Federation, person: Person) -> list[dict[str, object]]:
    """What `person` was sent, without the fields that Starling adds to the contract's."""
    name = federation.names[person.id]
    return [
        {
            **{key: one.payload[key] for key in ("notification_type", "training_uuid")},
            "body": {
                key: value
                for key, value in one.body.items()
                if key in {"round", "global_model_uuid"}
            },
        }
        for one in federation.webhooks.received(to=name, training=federation.training_id)
    ]


def assert_reported(federation: Federation, expected: list[tuple[int, Person, float]]) -> None:
    metrics = federation.actor.client.get(f"/api/models/{federation.model_id}/metrics/").json()

    assert [(one["step"], one["reporter"], one["value_float"]) for one in metrics] == [
        (step, person.id, value) for step, person, value in expected
    ]
    assert {one["key"] for one in metrics} == {"accuracy"}


def test_notifications_are_json_with_an_id_of_their_own(make_federation: MakeFederation) -> None:
    federation = make_federation()

    received = federation.webhooks.received(training=federation.training_id)

    assert len(received) == 4
    assert all(one.headers["content-type"].startswith("application/json") for one in received)
    assert all(
        set(one.payload) >= {"notification_type", "training_uuid", "body"} for one in received
    )


def test_nobody_trains_the_next_round_before_all_tests_are_in(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=2)
    content = torchscript(drifted(tiny(), seed=1))
    for participant in federation.participants:
        assert federation.upload(participant, content).status_code == 201
    federation.wait_for_tests(1)
    first, second = federation.participants

    federation.report(first)
    federation.report(first, 0.7)
    early = federation.upload(first, torchscript(drifted(tiny(), seed=2)), round=1)
    federation.report(second)
    federation.wait_for_round(1)

    assert early.status_code == 400
    sent = [one.type for one in federation.told(first, "UPDATE_ROUND_START")]
    assert sent == [
        "TRAINING_START",
        "UPDATE_ROUND_START",
        "MODEL_TEST_ROUND",
        "UPDATE_ROUND_START",
    ]


def test_ten_updates_at_once_close_the_round_once(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=10, rounds=1)
    updates = [torchscript(drifted(tiny(), seed=k)) for k in range(10)]
    start = Barrier(10)

    def deliver(k: int) -> int:
        start.wait()
        return federation.upload(
            federation.participants[k], updates[k], sample_size=k + 1
        ).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(deliver, range(10)))
    federation.wait_for_tests(1)
    assert_within_one_ulp(
        federation.weights(),
        federated_average([(k + 1, weights(content)) for k, content in enumerate(updates)]),
    )
    for participant in federation.participants:
        federation.report(participant)

    assert statuses == [201] * 10
    for participant in federation.participants:
        # Notifications keep their order, so after the last one no second of these can come.
        sent = [one.type for one in federation.told(participant, "TRAINING_FINISHED")]
        assert sent == [
            "TRAINING_START",
            "UPDATE_ROUND_START",
            "MODEL_TEST_ROUND",
            "TRAINING_FINISHED",
        ]


def test_the_same_update_ten_times_at_once_counts_once(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=2, rounds=1)
    first, second = federation.participants
    content = torchscript(drifted(tiny(), seed=1))
    start = Barrier(10)

    def deliver(_: int) -> int:
        start.wait()
        return federation.upload(first, content, sample_size=3).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(deliver, range(10)))

    assert statuses == [201] * 10
    assert federation.training()["local_models_arrived"] == 1
    other = torchscript(drifted(tiny(), seed=2))
    assert federation.upload(second, other, sample_size=1).status_code == 201
    federation.wait_for_tests(1)
    assert_within_one_ulp(
        federation.weights(), federated_average([(3, weights(content)), (1, weights(other))])
    )


def test_ten_different_updates_of_one_participant_at_once_are_one_and_nine_conflicts(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=2)
    participant = federation.participants[0]
    updates = [torchscript(drifted(tiny(), seed=k)) for k in range(10)]
    start = Barrier(10)

    def deliver(k: int) -> int:
        start.wait()
        return federation.upload(participant, updates[k]).status_code

    with ThreadPoolExecutor(10) as pool:
        statuses = list(pool.map(deliver, range(10)))

    assert sorted(statuses) == [201] + [409] * 9
    assert federation.training()["local_models_arrived"] == 1


def test_the_last_update_may_be_repeated_after_it_closed_the_round(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=1)
    participant = federation.participants[0]
    content = torchscript(drifted(tiny(), seed=1))
    assert federation.upload(participant, content).status_code == 201

    at_once = federation.upload(participant, content)
    federation.wait_for_tests(1)
    later = federation.upload(participant, content)

    assert (at_once.status_code, later.status_code) == (201, 201)
    assert_within_one_ulp(federation.weights(), weights(content))


def test_a_finished_training_takes_no_more_updates(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=1, rounds=1)
    participant = federation.participants[0]
    federation.upload(participant, torchscript(drifted(tiny(), seed=1)))
    federation.wait_for_tests(1)
    federation.report(participant)
    federation.told(participant, "TRAINING_FINISHED")

    answer = federation.upload(participant, torchscript(drifted(tiny(), seed=2)), round=1)

    assert answer.status_code == 400
    assert federation.training()["state"] == "C"


def test_removing_the_last_one_awaited_closes_the_round(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=2, rounds=1)
    present, absent = federation.participants
    content = torchscript(drifted(tiny(), seed=1))
    assert federation.upload(present, content).status_code == 201

    answer = federation.actor.client.request(
        "DELETE",
        f"/api/trainings/{federation.training_id}/clients/",
        json={"clients": [absent.id]},
    )

    assert answer.status_code == 200
    federation.told(present, "MODEL_TEST_ROUND")
    assert_within_one_ulp(federation.weights(), weights(content))


def test_updates_do_not_pile_up(server: Server, make_federation: MakeFederation) -> None:
    federation = make_federation(participants=2, rounds=1)
    for k, participant in enumerate(federation.participants):
        federation.upload(participant, torchscript(drifted(tiny(), seed=k)))
    federation.wait_for_tests(1)
    for participant in federation.participants:
        federation.report(participant)
    for participant in federation.participants:
        federation.told(participant, "TRAINING_FINISHED")

    for participant in federation.participants:
        listed = participant.client.get("/api/models/").json()
        assert [model["id"] for model in listed] == [federation.model_id]
