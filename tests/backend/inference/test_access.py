"""Whose models may be asked; local models among them."""

import pytest
import safetensors.torch

from tests.backend.inference.predictions import (
    INPUT,
    arrays,
    ask,
    asked,
    refusal,
    tiny_dropout_outputs,
    tiny_outputs,
)
from tests.federations import MakeFederation, People, Person, accepted_model
from tests.model_files import drifted, pickled, tiny, torchscript

OUTSIDER = "You are neither the owner of the model nor actor or participant of its training."


def local_model_of(participant: Person) -> str:
    """Id of the only update that the participant has there."""
    models = participant.client.get("/api/models/").json()
    (found,) = (one["id"] for one in models if "base_model" in one)
    return str(found)


def test_a_model_answers_its_owner_and_participants_and_nobody_else(
    make_federation: MakeFederation, make_user: People
) -> None:
    federation = make_federation(started=False)
    outsider = make_user("outsider", actor=True, client=True)

    for person in (federation.actor, *federation.participants):
        ask(person, federation.model_id)
    assert refusal(asked(outsider, federation.model_id), 403) == OUTSIDER


def test_a_model_without_a_training_answers_its_owner_alone(make_user: People) -> None:
    owner, other = make_user("owner", actor=True), make_user("other", actor=True)
    model_id = accepted_model(owner)

    ask(owner, model_id)
    assert refusal(asked(other, model_id), 403) == OUTSIDER


@pytest.mark.parametrize(
    ("kind", "method"), [("GLOBAL", "NONE"), ("GLOBAL", "MC_DROPOUT"), ("SWAG", "SWAG")]
)
def test_a_local_model_answers_its_owner_and_the_actor(
    make_federation: MakeFederation, kind: str, method: str
) -> None:
    federation = make_federation(model_type=kind, uncertainty_method=method)
    owner, other = federation.participants
    update = drifted(tiny(), seed=4).eval()
    assert federation.upload(owner, torchscript(update)).status_code == 201
    listed = federation.actor.client.get(f"/api/trainings/{federation.training_id}/models/")
    (local_id,) = (one["id"] for one in listed.json() if "base_model" in one)

    answers = [ask(person, local_id, seed=1) for person in (owner, federation.actor)]

    assert answers[0] == answers[1]
    assert isinstance(answers[0], dict)
    if method == "MC_DROPOUT":
        assert set(answers[0]["uncertainty"]) == {"variance", "std"}
    else:  # a local model has no moments of its own
        classes = tiny_outputs(arrays(update), INPUT).argmax(1)
        assert answers[0] == {"inference": classes.tolist(), "uncertainty": {}}
    assert refusal(asked(other, local_id), 403) == OUTSIDER


@pytest.mark.parametrize("method", ["NONE", "MC_DROPOUT"])
def test_an_update_of_tensors_alone_answers_in_its_global_models_module(
    make_federation: MakeFederation, method: str
) -> None:
    federation = make_federation(rounds=2, uncertainty_method=method)
    native, pickler = federation.participants
    update = drifted(tiny(), seed=4).eval()
    sent = native.client.put(
        f"/api/models/{federation.model_id}/updates/0/",
        params={"sample_size": "10"},
        content=safetensors.torch.save(update.state_dict()),
        headers={"Content-Type": "application/vnd.safetensors"},
    )
    assert sent.status_code == 201, sent.text
    local_id = local_model_of(native)

    answer = ask(native, local_id, seed=1)

    assert ask(federation.actor, local_id, seed=1) == answer
    assert isinstance(answer, dict)
    if method == "MC_DROPOUT":
        masked = tiny_dropout_outputs(arrays(update), INPUT)
        assert (answer["inference"] >= masked.min(0)).all()
        assert (answer["inference"] <= masked.max(0)).all()
        assert set(answer["uncertainty"]) == {"variance", "std"}
    else:
        classes = tiny_outputs(arrays(update), INPUT).argmax(1)
        assert answer == {"inference": classes.tolist(), "uncertainty": {}}
    assert federation.upload(pickler, pickled(update.state_dict())).status_code == 201
    assert ask(pickler, local_model_of(pickler), seed=1) == answer


def test_an_unknown_model_is_not_found(make_user: People) -> None:
    someone = make_user()
    for given in ("00000000-0000-0000-0000-000000000000", "abc"):
        assert refusal(asked(someone, given)) == f"Model {given} not found."
