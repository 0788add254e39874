"""The actor steers a running training: pause, resume, close a round, abort."""

import pytest

from tests.backend.rounds.progress import rounds_of, update, wait_for_state
from tests.federations import Federation, MakeFederation
from tests.model_files import assert_within_one_ulp, weights
from tests.waiting import wait_until

NEVER = 3600.0


def steer(federation: Federation, what: str) -> int:
    path = f"/api/trainings/{federation.training_id}/{what}/"
    return federation.actor.client.post(path).status_code


def test_a_paused_training_takes_updates_and_asks_for_nothing_new(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=2, rounds=1, options={"test_deadline_seconds": NEVER})
    first, second = federation.participants
    assert federation.upload(first, update(1)).status_code == 201
    assert [steer(federation, "pause") for _ in range(2)] == [202, 202]
    assert federation.training()["paused"] is True

    assert federation.upload(second, update(2)).status_code == 201
    wait_until(lambda: federation.training()["phase"] == "testing", what="the aggregation")
    asked = [one.type for one in federation.told(first, "UPDATE_ROUND_START")]
    assert "MODEL_TEST_ROUND" not in asked
    assert federation.training()["deadline_at"] is None

    assert [steer(federation, "resume") for _ in range(2)] == [202, 202]
    federation.wait_for_tests(1)
    assert federation.training()["deadline_at"] is not None
    for one in federation.participants:
        federation.report(one)
    wait_for_state(federation, "C")


def test_a_pause_stops_the_clock(make_federation: MakeFederation) -> None:
    federation = make_federation(
        participants=1, rounds=1, options={"round_deadline_seconds": NEVER}
    )
    before = federation.training()["deadline_at"]

    assert steer(federation, "pause") == 202
    assert federation.training()["deadline_at"] is None
    assert steer(federation, "resume") == 202

    assert str(federation.training()["deadline_at"]) > str(before)
    told = federation.told(federation.participants[0], "UPDATE_ROUND_START")
    assert [one.type for one in told].count("UPDATE_ROUND_START") == 1


def test_the_actor_closes_a_round_early(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=3, rounds=1)
    first, second, _ = federation.participants
    assert steer(federation, "close-round") == 409
    assert federation.upload(first, update(1)).status_code == 201

    assert steer(federation, "close-round") == 202

    federation.wait_for_tests(1)
    assert_within_one_ulp(federation.weights(), weights(update(1)))
    assert federation.upload(second, update(2)).status_code == 409
    federation.report(first)
    assert steer(federation, "close-round") == 202
    assert federation.training()["state"] == "C"


def test_a_round_is_not_closed_below_the_quorum(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=3, rounds=1, options={"quorum": 2})
    assert federation.upload(federation.participants[0], update(1)).status_code == 201

    assert steer(federation, "close-round") == 409

    assert federation.upload(federation.participants[1], update(2)).status_code == 201
    assert steer(federation, "close-round") == 202


def test_an_aborted_training_ends_and_tells_everybody(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=2, rounds=1)
    first, second = federation.participants
    assert federation.upload(first, update(1)).status_code == 201

    assert steer(federation, "abort") == 202

    ended = federation.training()
    assert (ended["state"], ended["error"]) == ("E", "The actor aborted the training.")
    for person in [first, second, federation.actor]:
        federation.told(person, "TRAINING_FINISHED")
    assert federation.upload(second, update(2)).status_code == 400
    assert [one["phase"] for one in rounds_of(federation)] == ["closed"]
    assert steer(federation, "abort") == 400


@pytest.mark.parametrize("what", ["pause", "resume", "close-round", "abort"])
def test_only_a_running_training_is_steered(make_federation: MakeFederation, what: str) -> None:
    assert steer(make_federation(started=False), what) == 400


def test_rounds_list_updates_by_owner_and_figures_name_them(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=2, rounds=3, options={"skip_model_tests": True})
    first, second = federation.participants
    for round in range(2):
        for k, participant in enumerate(federation.participants):
            sent = federation.upload(
                participant, update(10 * round + k), round=round, sample_size=10 + k
            )
            assert sent.status_code == 201, sent.text
        federation.wait_for_round(round + 1)

    path = f"/api/trainings/{federation.training_id}/rounds/"
    rounds = federation.actor.client.get(path).json()
    assert [
        [(one["owner"], one["sample_size"]) for one in round["updates"]] for round in rounds
    ] == [[(first.id, 10), (second.id, 11)]] * 2 + [[]]
    for round in rounds[:2]:
        assert set(round["figures"]["updates"]) == {one["id"] for one in round["updates"]}
    assert federation.actor.client.get(path, params={"since": 1}).json() == rounds[1:]

    own = second.client.get(path, params={"since": 1}).json()
    assert [one["owner"] for one in own[0]["updates"]] == [second.id]
    assert (own[0]["delivered"], own[0]["figures"]) == (2, None)
