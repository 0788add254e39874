"""What the aggregation and uncertainty methods change in the course of a training."""

import io

import httpx
import numpy as np
import pytest
import torch

from tests.federations import Federation, MakeFederation, Person, training_order
from tests.model_files import (
    Weights,
    assert_within_one_ulp,
    drifted,
    federated_average,
    pickled,
    tiny,
    torchscript,
    weights,
)


def handed_models(federation: Federation, round: int) -> dict[str, str]:
    """Participant id to the model that they were told to continue in `round`."""
    handed: dict[str, str] = {}
    for participant in federation.participants:
        told = federation.told(participant, *["UPDATE_ROUND_START"] * (round + 1))
        starts = [n for n in told if n.payload["notification_type"] == "UPDATE_ROUND_START"]
        body = starts[round].payload["body"]
        assert body["round"] == round
        handed[participant.id] = body["global_model_uuid"]
    return handed


def download(person: Person, model_id: str) -> Weights:
    answer = person.client.get(f"/api/models/{model_id}/")
    assert answer.status_code == 200, answer.text
    return weights(answer.content)


def test_fedprox_tells_participants_mu_with_each_round(make_federation: MakeFederation):
    federation = make_federation(aggregation_method="FedProx", options={"mu": 0.25})
    for participant in federation.participants:
        told = federation.told(participant, "UPDATE_ROUND_START")
        start = next(n for n in told if n.payload["notification_type"] == "UPDATE_ROUND_START")
        assert start.payload["body"] == {
            "round": 0,
            "global_model_uuid": federation.model_id,
            "mu": 0.25,
        }


def test_feddc_hands_local_models_on_and_aggregates_once_per_period(
    make_federation: MakeFederation,
):
    federation = make_federation(
        participants=3,
        rounds=1,
        aggregation_method="FedDC",
        options={"daisy_chain_period": 2, "seed": 7},
    )
    assert federation.training()["target_num_updates"] == 2
    before = federation.weights()
    first_updates = {
        p.id: torchscript(drifted(tiny(), seed=k)) for k, p in enumerate(federation.participants)
    }
    for participant in federation.participants:
        answer = federation.upload(participant, first_updates[participant.id])
        assert answer.status_code == 201, answer.text

    handed = handed_models(federation, 1)
    assert len(set(handed.values())) == 3
    assert federation.model_id not in handed.values()
    assert_within_one_ulp(federation.weights(), before)
    local = {m["id"]: m["owner"] for m in local_models(federation) if "owner" in m}
    for participant in federation.participants:
        model_id = handed[participant.id]
        continued = weights(first_updates[local[model_id]])
        assert_within_one_ulp(download(participant, model_id), continued)

    # Whose model is not one's own and was not handed to one is not one's to read or continue.
    one, *others = federation.participants
    foreign = next(
        model_id for model_id in (handed[p.id] for p in others) if local[model_id] != one.id
    )
    assert one.client.get(f"/api/models/{foreign}/").status_code == 403
    refused = federation.upload(one, first_updates[one.id], round=1, model_id=foreign)
    assert refused.status_code == 400
    assert refused.json()["detail"] == f"GlobalModel {foreign} not found."

    # An answer may get lost: the same bytes for a round that is over are accepted once more, under
    # the id they were sent to.
    again = federation.upload(one, first_updates[one.id])
    assert again.status_code == 201, again.text

    second_updates = [torchscript(drifted(tiny(), seed=20 + k)) for k in range(3)]
    for k, participant in enumerate(federation.participants):
        answer = federation.upload(
            participant,
            second_updates[k],
            round=1,
            sample_size=k + 1,
            model_id=handed[participant.id],
        )
        assert answer.status_code == 201, answer.text
    for participant in federation.participants:
        federation.told(participant, "MODEL_TEST_ROUND")
    repeated = federation.upload(
        one, second_updates[0], round=1, sample_size=1, model_id=handed[one.id]
    )
    assert repeated.status_code == 201, repeated.text
    expected = federated_average([(k + 1, weights(u)) for k, u in enumerate(second_updates)])
    assert_within_one_ulp(federation.weights(), expected)
    for participant in federation.participants:
        federation.report(participant)
    federation.told(federation.actor, "TRAINING_FINISHED")
    assert federation.training()["state"] == "C"


def local_models(federation: Federation) -> list[dict[str, str]]:
    answer = federation.actor.client.get(f"/api/trainings/{federation.training_id}/models/")
    assert answer.status_code == 200, answer.text
    return [model for model in answer.json() if "base_model" in model]


def test_a_removed_participant_loses_the_model_that_was_handed_to_them(
    make_federation: MakeFederation,
):
    federation = make_federation(
        rounds=1, aggregation_method="FedDC", options={"daisy_chain_period": 2}
    )
    for k, participant in enumerate(federation.participants):
        content = torchscript(drifted(tiny(), seed=k))
        assert federation.upload(participant, content).status_code == 201
    handed = handed_models(federation, 1)
    owners = {m["id"]: m["owner"] for m in local_models(federation)}
    gone = federation.participants[0]
    before = gone.client.get(f"/api/models/{handed[gone.id]}/").status_code
    answer = federation.actor.client.request(
        "DELETE", f"/api/trainings/{federation.training_id}/clients/", json={"clients": [gone.id]}
    )
    assert answer.status_code == 200, answer.text
    after = gone.client.get(f"/api/models/{handed[gone.id]}/").status_code
    own = owners[handed[gone.id]] == gone.id
    assert (before, after) == (200, 200 if own else 403)


def test_a_model_is_trained_again_from_round_0_after_its_training_was_deleted(
    make_federation: MakeFederation,
):
    federation = make_federation(rounds=2)
    for k, participant in enumerate(federation.participants):
        content = torchscript(drifted(tiny(), seed=k))
        assert federation.upload(participant, content).status_code == 201
    federation.wait_for_tests(1)
    trained = federation.weights()
    client = federation.actor.client
    assert client.delete(f"/api/trainings/{federation.training_id}/").status_code == 200

    answer = client.post(
        "/api/trainings/",
        json=training_order(federation.model_id, clients=[p.id for p in federation.participants]),
    )
    assert answer.status_code == 201, answer.text
    federation.training_id = answer.json()["training_id"]
    federation.model_id = str(federation.training()["model"])
    metadata = client.get(f"/api/models/{federation.model_id}/metadata/").json()
    assert metadata["round"] == 0
    assert_within_one_ulp(federation.weights(), trained)
    federation.start()
    federation.wait_for_round(0)
    for k, participant in enumerate(federation.participants):
        content = torchscript(drifted(tiny(), seed=50 + k))
        assert federation.upload(participant, content).status_code == 201
    federation.wait_for_tests(1)


def test_a_daisy_chain_period_belongs_to_feddc(make_federation: MakeFederation):
    federation = make_federation(started=False)
    answer = federation.actor.client.post(
        "/api/trainings/",
        json={
            "model_id": federation.model_id,
            "target_num_updates": 1,
            "metric_names": [],
            "aggregation_method": "FedAvg",
            "options": {"daisy_chain_period": 2},
        },
    )
    assert answer.status_code == 400
    assert "daisy_chain_period" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"mu": -1}, "mu"),
        ({"mu": "much"}, "mu"),
        ({"daisy_chain_period": 0}, "daisy_chain_period"),
        ({"daisy_chain_period": 1.5}, "daisy_chain_period"),
        ({"daisy_chain_perod": 2}, "daisy_chain_period"),
        ({"uncertainty": {"N": 0}}, "N"),
        ({"uncertainty": {"samples": 3}}, "samples"),
        ({"accumulate": "float16"}, "accumulate"),
        ({"skip_model_tests": "yes"}, "skip_model_tests"),
    ],
)
def test_a_bad_option_is_refused_at_creation(
    make_federation: MakeFederation, options: dict[str, object], named: str
):
    federation = make_federation(started=False)
    answer = federation.actor.client.post(
        "/api/trainings/",
        json={
            "model_id": federation.model_id,
            "target_num_updates": 1,
            "metric_names": [],
            "aggregation_method": "FedDC",
            "options": options,
        },
    )
    assert answer.status_code == 400, answer.text
    assert named in answer.json()["detail"]
    assert list(answer.json()["errors"]) == ["options"]


def test_without_tests_a_round_follows_the_aggregation_at_once(make_federation: MakeFederation):
    federation = make_federation(rounds=2, options={"skip_model_tests": True})
    for round in range(2):
        federation.wait_for_round(round)
        for k, participant in enumerate(federation.participants):
            content = torchscript(drifted(tiny(), seed=10 * round + k))
            assert federation.upload(participant, content, round=round).status_code == 201
    for person in (*federation.participants, federation.actor):
        told = federation.told(person, "TRAINING_FINISHED")
        assert "MODEL_TEST_ROUND" not in {n.payload["notification_type"] for n in told}
    assert federation.training()["state"] == "C"


def test_a_test_after_the_last_round_only(make_federation: MakeFederation):
    federation = make_federation(rounds=2, options={"model_test_after_each_round": False})
    for round in range(2):
        federation.wait_for_round(round)
        for k, participant in enumerate(federation.participants):
            content = torchscript(drifted(tiny(), seed=10 * round + k))
            assert federation.upload(participant, content, round=round).status_code == 201
    for participant in federation.participants:
        told = federation.told(participant, "MODEL_TEST_ROUND")
        tests = [n for n in told if n.payload["notification_type"] == "MODEL_TEST_ROUND"]
        assert [n.payload["body"]["round"] for n in tests] == [2]
        federation.report(participant)
    federation.told(federation.actor, "TRAINING_FINISHED")


def test_a_swag_training_averages_moments_and_predicts_with_them(make_federation: MakeFederation):
    federation = make_federation(
        rounds=1,
        model_type="SWAG",
        uncertainty_method="SWAG",
        options={"uncertainty": {"N": 400}},
    )
    actor, model_id = federation.actor, federation.model_id
    untrained = actor.client.post(
        "/api/inference/", json={"model_id": model_id, "model_input": [[1.0, 2.0, 3.0]]}
    )
    assert untrained.status_code == 400
    assert "moments" in untrained.json()["detail"]

    for k, participant in enumerate(federation.participants):
        content = torchscript(drifted(tiny(), seed=k))
        assert federation.upload(participant, content).status_code == 201
    for participant in federation.participants:
        told = federation.told(participant, "SWAG_ROUND_START")
        start = next(n for n in told if n.payload["notification_type"] == "SWAG_ROUND_START")
        assert start.payload["body"] == {"round": 1, "global_model_uuid": model_id}
    assert federation.training()["state"] == "S"

    parameters = sum(p.numel() for p in tiny().parameters())
    generator = torch.Generator().manual_seed(5)
    sizes, firsts, seconds = [1, 3], [], []
    for size, participant in zip(sizes, federation.participants, strict=True):
        first = torch.randn(parameters, generator=generator)
        second = first**2 + torch.rand(parameters, generator=generator)
        firsts.append(first.double().numpy())
        seconds.append(second.double().numpy())
        for _ in range(2):  # the same moments again change nothing
            answer = send_moments(participant, model_id, 1, size, first, second)
            assert (answer.status_code, answer.json()["detail"]) == (201, "SWAG Statistic Accepted")
    for participant in federation.participants:
        federation.told(participant, "MODEL_TEST_ROUND")
    assert federation.training()["state"] == "O"

    metadata = actor.client.get(f"/api/models/{model_id}/metadata/").json()
    for field, parts in (("swag_first_moment", firsts), ("swag_second_moment", seconds)):
        mean = sum(n * part for n, part in zip(sizes, parts, strict=True)) / sum(sizes)
        content = actor.client.get(metadata[field]).content
        np.testing.assert_allclose(load_moment(content), mean, rtol=1e-12)

    for participant in federation.participants:
        federation.report(participant)
    federation.told(actor, "TRAINING_FINISHED")
    assert federation.training()["state"] == "C"
    asked = {"model_id": model_id, "model_input": [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], "seed": 4}
    answers = [actor.client.post("/api/inference/", json=asked) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text
    assert answers[0].json() == answers[1].json()
    assert np.shape(answers[0].json()["uncertainty"]["std"]) == (2, 2)


def load_moment(content: bytes) -> object:
    return torch.load(io.BytesIO(content), weights_only=True).numpy()


def send_moments(
    participant: Person,
    model_id: str,
    round: int,
    sample_size: int,
    first: torch.Tensor,
    second: torch.Tensor,
) -> httpx.Response:
    return participant.client.post(
        f"/api/models/{model_id}/swag/",
        data={"round": str(round), "sample_size": str(sample_size)},
        files={
            "first_moment_file": ("first", pickled(first)),
            "second_moment_file": ("second", pickled(second)),
        },
    )


def test_moments_that_do_not_fit_are_refused(make_federation: MakeFederation):
    federation = make_federation(rounds=1, model_type="SWAG", uncertainty_method="SWAG")
    participant, model_id = federation.participants[0], federation.model_id
    parameters = sum(p.numel() for p in tiny().parameters())
    good = torch.ones(parameters)

    early = send_moments(participant, model_id, 0, 1, good, good)
    assert early.status_code == 400
    assert early.json()["detail"].endswith("is in state O")
    for k, member in enumerate(federation.participants):
        content = torchscript(drifted(tiny(), seed=k))
        assert federation.upload(member, content).status_code == 201
    federation.told(participant, "SWAG_ROUND_START")

    for round, first, second, named in (
        (1, torch.ones(parameters - 1), good, str(parameters)),
        (1, good.reshape(1, -1), good, "1-D"),
        (1, good, torch.full((parameters,), float("nan")), "NaN"),
        (0, good, good, "round"),
    ):
        answer = send_moments(participant, model_id, round, 1, first, second)
        assert answer.status_code == 400, answer.text
        assert named.lower() in answer.json()["detail"].lower()
    outsider = send_moments(federation.actor, model_id, 1, 1, good, good)
    assert outsider.status_code == 403
