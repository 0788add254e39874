from tests.federations import MakeFederation, People, accepted_model, training_order
from tests.model_files import drifted, tiny, torchscript


def test_a_participant_without_an_endpoint_hinders_nobody(make_user: People) -> None:
    actor, silent = make_user(actor=True), make_user(client=True)
    model_id = accepted_model(actor)
    order = training_order(model_id, target_num_updates=1, clients=[silent.id])
    training_id = actor.client.post("/api/trainings/", json=order).json()["training_id"]

    assert actor.client.post(f"/api/trainings/{training_id}/start/").status_code == 202
    answer = silent.client.post(
        f"/api/models/{model_id}/",
        data={"round": "0", "sample_size": "1"},
        files={"model_file": ("m", torchscript(drifted(tiny(), seed=1)))},
    )

    assert answer.status_code == 201


def test_an_endpoint_that_accepts_with_202_is_fine(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=1, started=False)
    participant = federation.participants[0]
    federation.webhooks.answer(federation.names[participant.id], 202)

    federation.start()
    sent = federation.told(participant, "UPDATE_ROUND_START")

    assert [one.type for one in sent] == ["TRAINING_START", "UPDATE_ROUND_START"]


def test_an_endpoint_that_fails_does_not_hold_up_the_others(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=2, started=False)
    failing, fine = federation.participants
    federation.webhooks.answer(federation.names[failing.id], 500)

    federation.start()
    federation.told(fine, "TRAINING_START", "UPDATE_ROUND_START")

    assert federation.training()["state"] == "O"
