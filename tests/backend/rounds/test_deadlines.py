"""Quorums, deadlines and cohorts on a running server."""

from datetime import UTC, datetime

from tests.backend.rounds.progress import rounds_of, update, wait_for_state
from tests.conftest import ServerMaker
from tests.federations import Federation, MakeFederation, People, Person, new_federation
from tests.model_files import (
    assert_within_one_ulp,
    federated_average,
    weights,
)
from tests.waiting import wait_until
from tests.webhooks import WebhookReceiver

# Long enough for an upload on a busy machine, short enough to be waited for.
SOON = 3.0


def standing_of(federation: Federation, person: Person) -> dict[str, object]:
    answer = federation.actor.client.get(f"/api/trainings/{federation.training_id}/participants/")
    return next(one for one in answer.json() if one["id"] == person.id)


def test_a_round_closes_at_its_deadline_with_a_quorum(make_federation: MakeFederation) -> None:
    federation = make_federation(
        participants=3,
        rounds=1,
        options={"quorum": 2, "round_deadline_seconds": SOON, "test_deadline_seconds": SOON},
    )
    first, second, straggler = federation.participants
    opened = federation.told(first, "UPDATE_ROUND_START")[-1]
    assert datetime.fromisoformat(str(opened.body["deadline"])) > datetime.now(UTC)
    assert federation.upload(first, update(1), sample_size=1).status_code == 201
    assert federation.upload(second, update(2), sample_size=3).status_code == 201
    assert standing_of(federation, first)["delivered"] is True
    assert standing_of(federation, straggler)["delivered"] is False

    federation.wait_for_tests(1)
    late = federation.upload(straggler, update(3))
    federation.report(first)

    wait_for_state(federation, "C")
    assert_within_one_ulp(
        federation.weights(),
        federated_average([(1, weights(update(1))), (3, weights(update(2)))]),
    )
    assert late.status_code == 409
    assert (late.json()["round"], late.json()["phase"]) == (0, "testing")
    assert [one["delivered"] for one in rounds_of(federation)] == [2]


def test_without_a_quorum_a_round_is_extended_once_and_then_given_up(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(
        participants=2, rounds=1, options={"quorum": 1.0 - 1e-9, "round_deadline_seconds": 1.0}
    )
    first, _ = federation.participants
    assert federation.upload(first, update(1)).status_code == 201
    wait_until(lambda: rounds_of(federation)[0]["extended"], what="the extension")

    ended = wait_for_state(federation, "E")

    assert "1 of at least 2 participants delivered" in str(ended["error"])
    for person in [*federation.participants, federation.actor]:
        federation.told(person, "TRAINING_FINISHED")


def test_an_update_in_the_extension_counts(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=1, rounds=1, options={"round_deadline_seconds": SOON})
    (only,) = federation.participants
    wait_until(lambda: rounds_of(federation)[0]["extended"], what="the extension")

    assert federation.upload(only, update(1)).status_code == 201

    federation.wait_for_tests(1)


def test_who_misses_a_deadline_may_be_removed(make_federation: MakeFederation) -> None:
    federation = make_federation(
        participants=2,
        rounds=2,
        options={"quorum": 1, "round_deadline_seconds": SOON, "on_missed": "remove"},
    )
    present, straggler = federation.participants
    assert federation.upload(present, update(1)).status_code == 201

    federation.told(straggler, "CLIENT_REMOVED")

    federation.told(present, "MODEL_TEST_ROUND")
    assert federation.training()["participants"] == [present.id]
    assert federation.upload(straggler, update(2)).status_code == 403


def test_a_cohort_is_drawn_for_every_round(make_federation: MakeFederation) -> None:
    federation = make_federation(
        participants=4, rounds=6, started=False, options={"cohort": 2, "skip_model_tests": True}
    )
    federation.start()
    people = {one.id: one for one in federation.participants}
    for index in range(6):
        wait_until(lambda index=index: len(rounds_of(federation)) > index, what=f"round {index}")
        cohort = [people[str(one)] for one in list(rounds_of(federation)[index]["cohort"])]  # type: ignore[call-overload]
        assert len(cohort) == 2
        assert federation.training()["local_models_expected"] == 2
        outsider = next(one for one in federation.participants if one not in cohort)
        assert federation.upload(outsider, update(9), round=index).status_code == 409
        for one in cohort:
            federation.told(one, "UPDATE_ROUND_START")
            assert federation.upload(one, update(index), round=index).status_code == 201
    wait_for_state(federation, "C")

    cohorts = {tuple(one["cohort"]) for one in rounds_of(federation)}  # type: ignore[arg-type]
    assert len(cohorts) > 1
    for one in federation.participants:
        told = {
            n.body["round"]
            for n in federation.told(one, "TRAINING_FINISHED")
            if n.type == "UPDATE_ROUND_START"
        }
        drawn = {r["index"] for r in rounds_of(federation) if one.id in list(r["cohort"])}  # type: ignore[call-overload]
        assert told == drawn


def test_a_cohort_that_left_is_drawn_anew(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=2, rounds=1, started=False, options={"cohort": 1})
    federation.start()
    (drawn,) = list(rounds_of(federation)[0]["cohort"])  # type: ignore[call-overload]
    leaving = next(one for one in federation.participants if one.id == drawn)
    staying = next(one for one in federation.participants if one.id != drawn)

    answer = leaving.client.request(
        "DELETE",
        f"/api/trainings/{federation.training_id}/clients/",
        json={"clients": [leaving.id]},
    )

    assert answer.status_code == 200, answer.text
    federation.told(staying, "UPDATE_ROUND_START")
    assert federation.upload(staying, update(1)).status_code == 201
    federation.told(staying, "MODEL_TEST_ROUND")


def test_a_deadline_that_passed_while_the_server_was_away_is_postponed(
    new_server: ServerMaker, webhooks: WebhookReceiver
) -> None:
    server = new_server().start_and_wait()
    people = People(server)
    federation = new_federation(
        people, webhooks, participants=1, rounds=1, options={"round_deadline_seconds": 3 * SOON}
    )
    server.kill()
    deadline = federation.told(federation.participants[0], "UPDATE_ROUND_START")[-1].body
    passed = datetime.fromisoformat(str(deadline["deadline"]))
    wait_until(lambda: datetime.now(UTC) > passed, what="the deadline")

    server.start_and_wait()

    wait_until(
        lambda: datetime.fromisoformat(str(federation.training()["deadline_at"])) > passed,
        what="another deadline",
    )
    (shown,) = rounds_of(federation)
    assert (shown["phase"], shown["extended"]) == ("collecting", False)
    people.close()
