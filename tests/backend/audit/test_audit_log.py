"""The audit log of real trainings: read by its parties, recomputed by strangers, verified."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from tests.accounts import another_superuser
from tests.federations import Federation, MakeFederation, People, Person, new_federation
from tests.model_files import drifted, pickled, tiny, torchscript
from tests.servers import REPOSITORY, Server, command
from tests.waiting import wait_until
from tests.webhooks import WebhookReceiver

JSON_LINES = "application/jsonl"
KEPT = {"delete_local_models_after_aggregation": False, "model_test_after_each_round": False}


def update(seed: int) -> bytes:
    return torchscript(drifted(tiny(), seed=seed))


def read(person: Person, federation: Federation, **query: object) -> httpx.Response:
    return person.client.get(
        f"/api/trainings/{federation.training_id}/audit/",
        params=query,  # type: ignore[arg-type]
    )


def log_of(person: Person, federation: Federation) -> list[dict[str, object]]:
    """The whole log as this person sees it."""
    answer = read(person, federation, format="jsonl")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(JSON_LINES)
    return [json.loads(line) for line in answer.text.splitlines()]


def details_of(log: list[dict[str, object]], kind: str) -> list[dict[str, object]]:
    return [dict(event["details"]) for event in log if event["kind"] == kind]  # type: ignore[call-overload]


def run_rounds(federation: Federation, rounds: int) -> None:
    """Deliver everybody's updates until the training waits for tests, and report these."""
    for index in range(rounds):
        federation.wait_for_round(index)
        for number, participant in enumerate(federation.participants):
            answer = federation.upload(
                participant, update(10 * index + number), round=index, sample_size=3 + number
            )
            assert answer.status_code == 201, answer.text
    federation.wait_for_tests(1)
    for participant in federation.participants:
        federation.report(participant)
    wait_until(lambda: federation.training()["state"] == "C", what="the end")


def verify(server: Server, training_id: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`starling verify` as an operator runs it."""
    return subprocess.run(
        command("verify", training_id, "--data-dir", str(server.data_dir), *arguments),
        env=server._environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(server: Server, webhooks: WebhookReceiver) -> Iterator[Federation]:
    """Two rounds of two participants, completed; everything is kept."""
    people = People(server)
    federation = new_federation(people, webhooks, options=KEPT)
    run_rounds(federation, 2)
    yield federation
    people.close()


def test_a_real_training_is_verified_beside_the_running_server(
    server: Server, finished: Federation
) -> None:
    ended = verify(server, finished.training_id, "--json")

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended
    assert ended.stderr == ""
    assert lines[-1]["rounds"] == {"verified": 2}
    assert {line.get("outcome", "verified") for line in lines} == {"verified"}


def test_a_daisy_chain_and_swag_moments_are_verified(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation(
        rounds=1,
        model_type="SWAG",
        aggregation_method="FedDC",
        uncertainty_method="SWAG",
        options={**KEPT, "daisy_chain_period": 2, "skip_model_tests": True},
    )
    for index in range(2):
        federation.wait_for_round(index)
        for number, participant in enumerate(federation.participants):
            assert federation.upload(participant, update(number), round=index).status_code == 201
    for participant in federation.participants:
        federation.told(participant, "SWAG_ROUND_START")
        moment = pickled(torch.full((66,), 0.5))
        answer = participant.client.post(
            f"/api/models/{federation.model_id}/swag/",
            data={"round": "2", "sample_size": "5"},
            files={"first_moment_file": ("f", moment), "second_moment_file": ("s", moment)},
        )
        assert answer.status_code == 201, answer.text
    wait_until(lambda: federation.training()["state"] == "C", what="the end")

    ended = verify(server, federation.training_id, "--json")

    assert ended.returncode == 0, ended.stdout
    verdict = json.loads(ended.stdout.splitlines()[-1])
    assert verdict["rounds"] == {"handed_on": 1, "verified": 2}


def test_an_open_round_is_checked_as_far_as_it_is(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation()
    assert federation.upload(federation.participants[0], update(0)).status_code == 201

    ended = verify(server, federation.training_id, "--json")

    assert ended.returncode == 0, ended.stdout
    assert json.loads(ended.stdout.splitlines()[-1])["rounds"] == {"open": 1}


def test_an_aborted_round_is_given_up_and_not_open(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation()
    assert federation.upload(federation.participants[0], update(0)).status_code == 201
    aborted = federation.actor.client.post(f"/api/trainings/{federation.training_id}/abort/")
    assert aborted.status_code < 300, aborted.text

    ended = verify(server, federation.training_id, "--json")

    assert ended.returncode == 0, ended.stdout
    *findings, verdict = map(json.loads, ended.stdout.splitlines())
    assert verdict["rounds"] == {"given_up": 1}
    assert "aborted" in next(f["detail"] for f in findings if f["outcome"] == "given_up")


def test_an_unknown_training_is_a_mistake_and_no_difference(server: Server) -> None:
    for given, word in (("00000000-0000-0000-0000-000000000000", "not found"), ("x", "UUID")):
        ended = verify(server, given)

        (line,) = ended.stderr.strip().splitlines()
        assert ended.returncode == 2
        assert word in line


def test_the_program_in_the_documentation_recomputes_the_chain(
    finished: Federation, tmp_path: Path
) -> None:
    document = (REPOSITORY / "docs" / "audit.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    (tmp_path / "chain.py").write_text(program)
    answer = read(finished.actor, finished, format="jsonl")

    def run(text: str) -> "subprocess.CompletedProcess[str]":
        arguments = [sys.executable, str(tmp_path / "chain.py"), finished.training_id]
        return subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)

    honest, edited = (
        run(answer.text),
        run(answer.text.replace('"sample_size":4', '"sample_size":5')),
    )
    assert (honest.returncode, honest.stderr) == (0, "")
    assert honest.stdout.strip() == json.loads(answer.text.splitlines()[-1])["digest"]
    assert edited.returncode == 1


def test_pages_follow_each_other_without_gap_or_repeat(finished: Federation) -> None:
    whole = log_of(finished.actor, finished)
    paged: list[dict[str, object]] = []
    while page := read(
        finished.actor, finished, after=paged[-1]["id"] if paged else 0, limit=3
    ).json():
        assert len(page) <= 3
        paged += page

    lines = read(finished.actor, finished, format="jsonl", after=whole[1]["id"], limit=5)

    assert paged == whole
    assert [json.loads(line) for line in lines.text.splitlines()] == whole[2:7]
    assert [event["kind"] for event in whole[:3]] == [
        *("training_created", "training_started", "round_opened")
    ]
    assert whole[-1]["kind"] == "training_completed"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/jsonl", "application/jsonl"),
        ("application/x-ndjson", "application/jsonl"),
        ("application/json, application/jsonl;q=0.5", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_the_accept_header_chooses_the_form(
    finished: Federation, accept: str, content_type: str
) -> None:
    path = f"/api/trainings/{finished.training_id}/audit/"

    answer = finished.actor.client.get(path, headers={"Accept": accept})

    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == content_type


def test_other_addresses_answer_no_json_lines(finished: Federation) -> None:
    answer = finished.actor.client.get("/api/trainings/", headers={"Accept": JSON_LINES})

    assert answer.status_code == 406


@pytest.mark.parametrize(
    ("field", "value"),
    [("after", "-1"), ("after", "x"), ("limit", "0"), ("limit", "1001"), ("format", "csv")],
)
def test_a_bad_question_names_the_field(finished: Federation, field: str, value: str) -> None:
    answer = read(finished.actor, finished, **{field: value})

    assert answer.status_code == 400
    assert field in answer.json()["errors"]


def test_a_participant_sees_the_training_and_themselves_only(finished: Federation) -> None:
    participant, other = finished.participants
    theirs, whole = log_of(participant, finished), log_of(finished.actor, finished)

    text = json.dumps(theirs)
    others = [event["details"] for event in whole if event["who"] == other.id and "digest" in event]
    assert others
    assert other.id not in text
    for details in others:
        if isinstance(details, dict) and "digest" in details:
            assert str(details["digest"]) not in text
    accepted = details_of(theirs, "update_accepted")
    aggregated = details_of(theirs, "round_aggregated")
    assert len(accepted) == len(aggregated) == 2
    for mine, round_details in zip(accepted, aggregated, strict=True):
        assert round_details["updates"] == [{**mine, "owner": participant.id}]
    digests = {event["id"]: event["digest"] for event in whole}
    redacted = {event["id"] for event in theirs if event["redacted"]}
    assert all(digests[event["id"]] == event["digest"] for event in theirs)
    assert redacted == {
        event["id"] for event in whole if event["kind"] in {"training_created", "round_aggregated"}
    }
    assert not any(event["redacted"] for event in whole)


def test_the_log_outlives_the_training(
    server: Server, make_federation: MakeFederation, make_user: People
) -> None:
    federation = make_federation(started=False)
    path = f"/api/trainings/{federation.training_id}/"
    assert federation.actor.client.delete(path).status_code == 200

    kinds = [event["kind"] for event in log_of(federation.actor, federation)]
    refused = [read(person, federation) for person in (federation.participants[0], make_user())]
    ended = verify(server, federation.training_id)

    assert kinds == ["training_created", "training_deleted"]
    assert log_of(another_superuser(make_user), federation)
    assert [answer.status_code for answer in refused] == [403, 403]
    assert ended.returncode == 0, ended
    assert "deleted" in ended.stdout


def test_a_training_that_never_was_has_no_log(make_user: People) -> None:
    answer = make_user().client.get("/api/trainings/00000000-0000-0000-0000-000000000000/audit/")

    assert answer.status_code == 400


def test_an_update_deleted_by_hand_is_on_record_and_no_difference(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation(participants=1, rounds=1, options=KEPT)
    run_rounds(federation, 1)
    (event,) = details_of(log_of(federation.actor, federation), "update_accepted")
    owner = federation.participants[0]
    assert owner.client.delete(f"/api/models/{event['update']}/").status_code == 200

    last = log_of(federation.actor, federation)[-1]
    ended = verify(server, federation.training_id, "--json")

    assert (last["kind"], last["who"]) == ("update_deleted", owner.id)
    assert ended.returncode == 0, ended.stdout
    assert json.loads(ended.stdout.splitlines()[-1])["rounds"] == {"not_kept": 1}
