"""How long updates and versions of the model are kept."""

from tests.backend.rounds.test_deadlines import update, wait_for_state
from tests.federations import Federation, MakeFederation
from tests.servers import Server
from tests.waiting import wait_until


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


def test_only_the_newest_versions_are_kept(server: Server, make_federation: MakeFederation) -> None:
    before = server.holdings()
    federation = make_federation(
        participants=1, rounds=3, options={"keep_versions": 2, "skip_model_tests": True}
    )
    run_rounds(federation, 3)

    def new_blobs() -> set[str]:
        new = server.holdings().files - before.files
        return {name for name in new if "staged" not in name}

    # What the first two versions were is gone; what was deleted is deleted after the commit.
    wait_until(lambda: len(new_blobs()) == 2, what="two versions")
    assert rounds_of_kept_updates(federation) == []
