"""A training's webhooks are those recorded, per recipient in the recorded order."""

import json

from tests.contract.exchanges import HERE
from tests.federations import Federation, MakeFederation, Person
from tests.model_files import drifted, tiny, torchscript

RECORDED_TRAINING = "id-2"


def recorded(recipient: str) -> list[dict[str, object]]:
    """What `recipient` was sent about the first training, a FedAvg of two rounds."""
    lines = map(json.loads, (HERE / "notifications.jsonl").read_text().splitlines())
    return [
        line["json"]
        for line in lines
        if line["to"] == recipient and line["json"]["training_uuid"] == RECORDED_TRAINING
    ]


def received(federation: Federation, person: Person) -> list[dict[str, object]]:
    """What `person` was sent, with the recorded ids and the recorded fields."""
    ids = {federation.model_id: "id-1", federation.training_id: RECORDED_TRAINING}
    return [
        {
            "notification_type": one.type,
            "body": {
                key: ids.get(str(value), value)
                for key, value in one.body.items()
                if key in {"round", "global_model_uuid"}
            },
            "training_uuid": ids[one.training],
        }
        for one in federation.told(person, "TRAINING_FINISHED")
    ]


def test_a_training_of_two_rounds_sends_what_was_recorded(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(participants=2, rounds=2)
    for round in range(2):
        federation.wait_for_round(round)
        for k, participant in enumerate(federation.participants):
            content = torchscript(drifted(tiny(), seed=k))
            assert federation.upload(participant, content, round=round).status_code == 201
        federation.wait_for_tests(round + 1)
        for participant in federation.participants:
            federation.report(participant)

    first, second = federation.participants
    assert received(federation, first) == recorded("c1")
    assert received(federation, second) == recorded("c2")
    assert received(federation, federation.actor) == recorded("actor")
