"""How long updates and versions of the model are kept."""

from tests.backend.rounds.progress import update, wait_for_state
from tests.federations import Federation, MakeFederation


def run_rounds(federation: Federation, rounds: int) -> None:
    (only,) = federation.participants
    for index in range(rounds):
        federation.wait_for_round(index)
        assert federation.upload(only, update(index), round=index).status_code == 201
    wait_for_state(federation, "C")


def rounds_of_kept_updates(federation: Federation) -> list[int]:
    answer = federation.actor.client.get(f"/api/trainings/{federation.training_id}/models/")
    return [one["round"] for one in answer.json() if "base_model" in one]


def test_updates_are_kept_for_as_many_rounds_as_asked(make_federation: MakeFederation) -> None:
    federation = make_federation(
        participants=1, rounds=3, options={"keep_updates_rounds": 2, "skip_model_tests": True}
    )
    run_rounds(federation, 3)

    assert rounds_of_kept_updates(federation) == [1, 2]


def test_only_the_newest_versions_are_kept(make_federation: MakeFederation) -> None:
    federation = make_federation(
        participants=1, rounds=3, options={"keep_versions": 2, "skip_model_tests": True}
    )
    run_rounds(federation, 3)

    path = f"/api/models/{federation.model_id}/versions/"
    versions = federation.actor.client.get(path).json()
    assert [(one["round"], one["kept"]) for one in versions] == [
        (0, False),
        (1, False),
        (2, True),
        (3, True),
    ]
    downloads = [federation.actor.client.get(f"{path}{k}/").status_code for k in range(4)]
    assert downloads == [410, 410, 200, 200]
    assert rounds_of_kept_updates(federation) == []
