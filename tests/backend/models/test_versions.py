"""What a model was after each aggregation."""

import hashlib

from tests.federations import Federation, MakeFederation
from tests.model_files import drifted, tiny, torchscript
from tests.waiting import wait_until


def trained(federation: Federation, rounds: int) -> Federation:
    """After so many rounds of one participant, without tests."""
    (participant,) = federation.participants
    for index in range(rounds):
        federation.wait_for_round(index)
        content = torchscript(drifted(tiny(), seed=index))
        assert federation.upload(participant, content, round=index).status_code == 201
    wait_until(lambda: federation.training()["state"] == "C", what="the end")
    return federation


def test_versions_are_listed_and_downloaded_until_they_are_not_kept(
    make_federation: MakeFederation,
) -> None:
    federation = trained(
        make_federation(
            participants=1,
            rounds=3,
            options={"skip_model_tests": True, "keep_versions": 2},
        ),
        3,
    )
    path = f"/api/models/{federation.model_id}/versions/"
    client = federation.participants[0].client

    listed = client.get(path).json()
    answers = [client.get(f"{path}{version['round']}/") for version in listed]

    assert [version["round"] for version in listed] == [0, 1, 2, 3]
    assert [version["kept"] for version in listed] == [False, False, True, True]
    assert [answer.status_code for answer in answers] == [410, 410, 200, 200]
    assert "keep_versions" in answers[0].json()["detail"]
    for version, answer in zip(listed[2:], answers[2:], strict=True):
        assert hashlib.sha256(answer.content).hexdigest() == version["digest"]
        assert len(answer.content) == version["size_bytes"]
        assert answer.headers["etag"] == f'"{version["digest"]}"'
        assert f"round-{version['round']}" in answer.headers["content-disposition"]
    present = federation.actor.client.get(f"/api/models/{federation.model_id}/")
    assert present.content == answers[-1].content


def test_a_version_that_never_was_is_not_there(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=1, started=False)
    path = f"/api/models/{federation.model_id}/versions/"
    client = federation.actor.client

    assert client.get(f"{path}1/").status_code == 404
    assert client.get(f"{path}-1/").status_code == 404
    assert client.get(f"{path}x/").status_code == 404
    assert client.get(f"{path}0/").status_code == 200
