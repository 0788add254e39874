from collections import OrderedDict
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.federations import Federation, MakeFederation, People, accepted_model
from tests.model_files import CallsOnLoad, drifted, pickled, tiny, torchscript, weights
from tests.servers import Holdings, Server


@pytest.fixture(scope="module")
def update() -> bytes:
    return torchscript(drifted(tiny(), seed=1))


def assert_nothing_new(server: Server, federation: Federation, before: Holdings) -> None:
    assert server.holdings().new_since(before) == {}
    assert federation.training()["local_models_arrived"] == 0


def test_an_update_is_counted_and_its_metrics_kept(
    make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    participant = federation.participants[0]

    answer = federation.upload(
        participant,
        update,
        sample_size=37,
        metric_names=["loss", "accuracy"],
        metric_values=["0.5", "0.75"],
        owner=federation.participants[1].id,
    )

    assert answer.status_code == 201, answer.text
    assert answer.json() == {"detail": "Model Update Accepted"}
    training = federation.training()
    assert (training["local_models_arrived"], training["local_models_expected"]) == (1, 2)
    listed = participant.client.get("/api/models/").json()
    (local,) = (model for model in listed if model["id"] != federation.model_id)
    assert datetime.fromisoformat(local.pop("created_at")).tzinfo is not None
    assert local == {
        "id": local["id"],
        "kind": "LOCAL",
        "size_bytes": len(update),
        "round": 0,
        "sample_size": 37,
        "owner": participant.id,
        "base_model": federation.model_id,
    }
    metrics = participant.client.get(f"/api/models/{local['id']}/metrics/").json()
    assert [(one["key"], one["value_float"], one["step"]) for one in metrics] == [
        ("loss", 0.5, 0),
        ("accuracy", 0.75, 0),
    ]
    assert {one["reporter"] for one in metrics} == {participant.id}


def test_an_update_is_seen_by_its_owner_and_the_actor_only(
    make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    owner, other = federation.participants
    assert federation.upload(owner, update).status_code == 201
    (local_id,) = (
        model["id"]
        for model in owner.client.get("/api/models/").json()
        if model["id"] != federation.model_id
    )

    assert owner.client.get(f"/api/models/{local_id}/").content == update
    for path in ("", "metadata/", "metrics/"):
        assert other.client.get(f"/api/models/{local_id}/{path}").status_code == 403
        assert federation.actor.client.get(f"/api/models/{local_id}/{path}").status_code == 200
    assert local_id not in {model["id"] for model in other.client.get("/api/models/").json()}


def test_the_same_bytes_again_change_nothing(
    server: Server, make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    participant = federation.participants[0]
    assert (
        federation.upload(participant, update, metric_names="loss", metric_values="0.5").status_code
        == 201
    )
    before = server.holdings()

    again = federation.upload(participant, update, metric_names="loss", metric_values="0.5")

    assert again.status_code == 201
    assert again.json() == {"detail": "Model Update Accepted"}
    assert federation.training()["local_models_arrived"] == 1
    assert federation.training()["state"] == "O"
    assert server.holdings().new_since(before) == {}


def test_other_bytes_for_a_delivered_round_are_a_409(
    server: Server, make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    participant = federation.participants[0]
    assert federation.upload(participant, update).status_code == 201
    before = server.holdings()

    other = federation.upload(participant, torchscript(drifted(tiny(), seed=2)))

    assert other.status_code == 409
    assert isinstance(other.json()["detail"], str)
    assert federation.training()["local_models_arrived"] == 1
    assert server.holdings().new_since(before) == {}


def test_the_same_bytes_from_two_participants_are_two_updates(
    make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation(participants=3)

    for participant in federation.participants[:2]:
        assert federation.upload(participant, update).status_code == 201

    assert federation.training()["local_models_arrived"] == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"sample_size": "0"}, "sample_size", id="no-samples"),
        pytest.param({"sample_size": "-1"}, "sample_size", id="negative-samples"),
        pytest.param({"sample_size": "1.5"}, "sample_size", id="fractional-samples"),
        pytest.param({"sample_size": "x"}, "sample_size", id="samples-of-text"),
        pytest.param({"sample_size": ""}, "sample_size", id="empty-samples"),
        pytest.param({"sample_size": "9" * 40}, "sample_size", id="huge-samples"),
        pytest.param({"sample_size": "nan"}, "sample_size", id="nan-samples"),
        pytest.param({"round": "x"}, "round", id="round-of-text"),
        pytest.param({"round": "-1"}, "round", id="negative-round"),
        pytest.param({"round": ["0", "0"]}, "round", id="two-rounds"),
        pytest.param({"foo": "bar"}, "foo", id="unknown-field"),
        pytest.param({"metric_names": ["a"]}, "metric", id="names-without-values"),
        pytest.param({"metric_values": ["1"]}, "metric", id="values-without-names"),
        pytest.param(
            {"metric_names": ["a", "b"], "metric_values": ["1"]}, "metric", id="unequal-metrics"
        ),
        pytest.param(
            {"metric_names": ["k" * 33], "metric_values": ["1"]}, "metric_names", id="long-metric"
        ),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(
    server: Server,
    make_federation: MakeFederation,
    update: bytes,
    fields: dict[str, str | list[str]],
    field: str,
) -> None:
    federation = make_federation()
    before = server.holdings()
    form = {"round": "0", "sample_size": "10", **fields}

    answer = federation.participants[0].client.post(
        f"/api/models/{federation.model_id}/",
        data=form,
        files={"model_file": ("model_file", update)},
    )

    assert answer.status_code == 400, answer.text
    assert field in answer.json()["detail"].lower()
    assert_nothing_new(server, federation, before)


@pytest.mark.parametrize("missing", ["round", "sample_size"])
def test_a_missing_field_is_named(
    server: Server, make_federation: MakeFederation, update: bytes, missing: str
) -> None:
    federation = make_federation()
    before = server.holdings()
    form = {"round": "0", "sample_size": "10"}
    del form[missing]

    answer = federation.participants[0].client.post(
        f"/api/models/{federation.model_id}/", data=form, files={"model_file": ("m", update)}
    )

    assert answer.status_code == 400
    assert missing in answer.json()["detail"]
    assert_nothing_new(server, federation, before)


def test_a_missing_file_is_named(server: Server, make_federation: MakeFederation) -> None:
    federation = make_federation()
    before = server.holdings()
    form, client = {"round": "0", "sample_size": "10"}, federation.participants[0].client
    path = f"/api/models/{federation.model_id}/"

    answers = [
        client.post(path, data=form),
        client.post(path, data=form, files={"x": ("x", b"x")}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert "No uploaded file 'model_file' found." in answers[0].json()["detail"]
    assert_nothing_new(server, federation, before)


def poisoned(value: float) -> bytes:
    model = tiny()
    with torch.no_grad():
        model[4].bias[1] = value  # type: ignore[operator]
    return torchscript(model)


def infinite_buffer() -> bytes:
    model = tiny()
    model[1].running_var[0] = float("inf")  # type: ignore[operator]
    return pickled(model)


def renamed() -> bytes:
    layers = OrderedDict(zip("abcde", tiny(), strict=True))
    return torchscript(nn.Sequential(layers))


def other_shape() -> bytes:
    model = tiny()
    model[4] = nn.Linear(8, 5)
    return torchscript(model)


def other_dtype() -> bytes:
    return torchscript(tiny().double())


def one_tensor_more() -> bytes:
    model = tiny()
    model.append(nn.Linear(2, 2))
    return torchscript(model)


def one_tensor_less() -> bytes:
    model = tiny()
    model[4] = nn.Linear(8, 2, bias=False)
    return torchscript(model)


@pytest.mark.parametrize(
    ("content", "tensor"),
    [
        pytest.param(poisoned(float("nan")), "4.bias", id="nan"),
        pytest.param(poisoned(float("inf")), "4.bias", id="infinity"),
        pytest.param(poisoned(float("-inf")), "4.bias", id="minus-infinity"),
        pytest.param(infinite_buffer(), "1.running_var", id="infinite-buffer"),
        pytest.param(other_shape(), "4.weight", id="other-shape"),
        pytest.param(other_dtype(), "0.weight", id="other-dtype"),
        pytest.param(renamed(), "0.weight", id="other-names"),
        pytest.param(one_tensor_more(), "5.weight", id="tensor-too-many"),
        pytest.param(one_tensor_less(), "4.bias", id="tensor-missing"),
    ],
)
def test_incompatible_tensors_are_named_and_nothing_is_stored(
    server: Server, make_federation: MakeFederation, content: bytes, tensor: str
) -> None:
    federation = make_federation()
    before = server.holdings()

    answer = federation.upload(federation.participants[0], content)

    assert answer.status_code == 400, answer.text
    assert tensor in answer.json()["detail"]
    assert_nothing_new(server, federation, before)


@pytest.mark.parametrize("content", [b"", b"garbage" * 20, pickled(torch.zeros(3))])
def test_what_is_no_model_is_refused(
    server: Server, make_federation: MakeFederation, content: bytes
) -> None:
    federation = make_federation()
    before = server.holdings()

    answer = federation.upload(federation.participants[0], content)

    assert answer.status_code == 400
    assert_nothing_new(server, federation, before)


def test_a_pickle_that_calls_a_function_is_not_run(
    server: Server, make_federation: MakeFederation, tmp_path: Path
) -> None:
    federation = make_federation()
    before = server.holdings()
    trace = tmp_path / "was-run"

    answer = federation.upload(federation.participants[0], pickled(CallsOnLoad(str(trace))))

    assert answer.status_code == 400
    assert "open" in answer.json()["detail"]
    assert not trace.exists()
    assert_nothing_new(server, federation, before)


def test_another_round_than_the_current_is_refused(
    server: Server, make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation()
    before = server.holdings()

    answer = federation.upload(federation.participants[0], update, round=1)

    assert answer.status_code == 400
    assert (
        f"Training with ID {federation.training_id} is not currently in round 1"
        in answer.json()["detail"]
    )
    assert_nothing_new(server, federation, before)


def test_a_training_that_has_not_started_takes_no_update(
    server: Server, make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation(started=False)
    before = server.holdings()

    answer = federation.upload(federation.participants[0], update)

    assert answer.status_code == 400
    assert "state I" in answer.json()["detail"]
    assert_nothing_new(server, federation, before)


def test_only_participants_may_deliver(
    server: Server, make_user: People, make_federation: MakeFederation, update: bytes
) -> None:
    federation, stranger = make_federation(), make_user(client=True)
    before = server.holdings()

    answers = [federation.upload(person, update) for person in (stranger, federation.actor)]

    for answer in answers:
        assert answer.status_code == 403
        assert (
            answer.json()["detail"]
            == f"You are not a participant of training {federation.training_id}!"
        )
    assert_nothing_new(server, federation, before)


def test_a_removed_participant_may_no_longer_deliver(
    make_federation: MakeFederation, update: bytes
) -> None:
    federation = make_federation(participants=3)
    gone = federation.participants[0]
    federation.actor.client.request(
        "DELETE", f"/api/trainings/{federation.training_id}/clients/", json={"clients": [gone.id]}
    )

    assert federation.upload(gone, update).status_code == 403


def test_a_model_without_a_training_is_a_404(
    server: Server, make_user: People, update: bytes
) -> None:
    owner = make_user(actor=True)
    model_id = accepted_model(owner)
    before = server.holdings()

    answer = owner.client.post(
        f"/api/models/{model_id}/",
        data={"round": "0", "sample_size": "1"},
        files={"model_file": ("m", update)},
    )

    assert answer.status_code == 404
    assert (
        answer.json()["detail"]
        == f"Model with ID {model_id} does not have a training process running"
    )
    assert server.holdings().new_since(before) == {}


@pytest.mark.parametrize("given", ["abc", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_model_is_a_400(
    make_federation: MakeFederation, update: bytes, given: str
) -> None:
    federation = make_federation()

    answer = federation.upload(federation.participants[0], update, model_id=given)

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"GlobalModel {given} not found."


def test_a_local_model_takes_no_update(make_federation: MakeFederation, update: bytes) -> None:
    federation = make_federation()
    owner, other = federation.participants
    assert federation.upload(owner, update).status_code == 201
    (local_id,) = (
        model["id"]
        for model in owner.client.get("/api/models/").json()
        if model["id"] != federation.model_id
    )

    answer = federation.upload(other, update, model_id=local_id)

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"GlobalModel {local_id} not found."


def test_a_local_model_cannot_be_trained(make_federation: MakeFederation, update: bytes) -> None:
    federation = make_federation()
    owner = federation.participants[0]
    assert federation.upload(owner, update).status_code == 201
    (local_id,) = (
        model["id"]
        for model in owner.client.get("/api/models/").json()
        if model["id"] != federation.model_id
    )

    answer = owner.client.post(
        "/api/trainings/",
        json={
            "model_id": local_id,
            "target_num_updates": 1,
            "metric_names": [],
            "aggregation_method": "FedAvg",
        },
    )

    assert answer.status_code == 400


def test_a_large_update_goes_through(make_federation: MakeFederation) -> None:
    model = nn.Linear(1500, 1500)
    federation = make_federation(participants=1, rounds=1, model=torchscript(model), started=True)
    update = torchscript(drifted(model, seed=5))

    assert federation.upload(federation.participants[0], update).status_code == 201
    federation.wait_for_tests(1)

    expected = weights(update)
    for name, tensor in federation.weights().items():
        assert np.array_equal(tensor, expected[name])
