"""Clients of the platform whose API this is: nothing changes for them but the address."""

import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import pytest

from tests.model_files import drifted, federated_average, pickled, tiny, tiny_file, weights
from tests.servers import REPOSITORY, Server, bare_environment
from tests.waiting import wait_until

# Other tests hold both databases to the wire contract; what these add does not depend on it.
pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("server", ["sqlite"], indirect=True)]

PARTICIPANTS = 3
ROUNDS = 3
DEADLINE_SECONDS = 120


class ParticipantProcess:
    """`existing_client.py` as a process of its own."""

    def __init__(self, server: Server, username: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.existing_client", server.url, username, "pw-1"],
            env=bare_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def user_id(self) -> str:
        """Of the user that it registered; waits until it has."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1]
        return str(json.loads(line)["user_id"])

    def lines(self) -> list[dict[str, object]]:
        """What it said after that, once it has ended by itself."""
        output, errors = self._process.communicate(timeout=DEADLINE_SECONDS)
        assert self._process.returncode == 0, errors
        return [json.loads(line) for line in output.splitlines()]


def unused(name: str) -> str:
    """A user name that nobody else has on the shared server."""
    return f"{name}-{secrets.token_hex(4)}"


def test_three_participant_processes_take_a_training_to_its_end(server: Server) -> None:
    actor_name = unused("the-actor")
    with ExitStack() as stack:
        participants = [
            stack.enter_context(ParticipantProcess(server, unused(f"participant-{k}")))
            for k in range(PARTICIPANTS)
        ]
        actor = stack.enter_context(server.client(auth=(actor_name, "pw-0")))
        created = actor.post(
            "/api/users/",
            json={"username": actor_name, "password": "pw-0", "actor": True},
            auth=None,
        )
        assert created.status_code == 201, created.text
        before = tiny_file()
        model_id = new_model(actor, before)
        members = [participant.user_id() for participant in participants]
        training = f"/api/trainings/{new_training(actor, model_id, members)}/"
        assert actor.post(f"{training}start/").status_code == 202

        said = [participant.lines() for participant in participants]

        assert actor.get(training).json()["state"] == "C"
        metrics = actor.get(f"/api/models/{model_id}/metrics/").json()
        after = actor.get(f"/api/models/{model_id}/").content
        metadata = actor.get(f"/api/models/{model_id}/metadata/").json()

    in_order: list[tuple[object, object]] = [("TRAINING_START", None)]
    for round in range(ROUNDS):
        in_order += [("UPDATE_ROUND_START", round), ("MODEL_TEST_ROUND", round + 1)]
    in_order.append(("TRAINING_FINISHED", None))
    for lines in said:
        assert [(line["told"], line["round"]) for line in lines if "told" in line] == in_order
        answers = [(line["sent"], line["status"]) for line in lines if "sent" in line]
        assert answers == [("update", 201), ("metrics", 201)] * ROUNDS
    assert metadata["round"] == ROUNDS
    assert not np.array_equal(weights(after)["0.weight"], weights(before)["0.weight"])
    tests = {
        (one["reporter"], one["step"], one["key"])
        for one in metrics
        if one["key"] in {"accuracy", "loss"} and one["value_float"] is not None
    }
    assert tests >= {
        (member, step, key)
        for member in members
        for step in range(1, ROUNDS + 1)
        for key in ("accuracy", "loss")
    }


def new_model(actor: httpx.Client, content: bytes) -> str:
    answer = actor.post(
        "/api/models/",
        data={"name": "Tiny", "description": "a model", "input_shape": ["None", "3"]},
        files={"model_file": ("model.pt", content)},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["model_id"])


def new_training(actor: httpx.Client, model_id: str, members: list[str]) -> str:
    answer = actor.post(
        "/api/trainings/",
        json={
            "model_id": model_id,
            "target_num_updates": ROUNDS,
            "metric_names": ["accuracy", "loss"],
            "aggregation_method": "FedAvg",
            "clients": members,
        },
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["training_id"])


@dataclass(frozen=True)
class Curl:
    """curl, with a user's name and password on every request."""

    url: str
    user: str

    def __call__(self, path: str, *arguments: str, expect: int = 200) -> Mapping[str, object]:
        """The JSON answer to one request."""
        answer, _, status = self._run(path, *arguments, "--write-out", "\n%{http_code}").rpartition(
            "\n"
        )
        assert int(status) == expect, f"{path}: {status} {answer}"
        return dict(json.loads(answer))

    def download(self, path: str, target: Path) -> bytes:
        """What is written to `target`."""
        self._run(path, "--fail", "--output", str(target))
        return target.read_bytes()

    def _run(self, path: str, *arguments: str) -> str:
        ended = subprocess.run(
            [found_curl(), "-sS", "--noproxy", "*", "-u", self.user, *arguments, self.url + path],
            env=bare_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def found_curl() -> str:
    """Path of the program."""
    found = shutil.which("curl")
    if found is None:
        raise AssertionError("This test needs the program curl on the PATH; install it.")
    return found


def form(**fields: str) -> list[str]:
    """Arguments of a multipart form."""
    return [part for name, value in fields.items() for part in ("-F", f"{name}={value}")]


def registered(server: Server, name: str, **fields: object) -> tuple[Curl, str]:
    """curl as a new user, and their id."""
    curl = Curl(server.url, f"{unused(name)}:pw-{secrets.token_hex(4)}")
    username, _, password = curl.user.partition(":")
    order = {"username": username, "password": password, **fields}
    created = curl("/api/users/", *json_body(order), expect=201)
    return curl, str(created["id"])


def json_body(order: Mapping[str, object]) -> list[str]:
    return ["-H", "Content-Type: application/json", "--data", json.dumps(order)]


def test_curl_alone_takes_a_training_to_its_end(server: Server, tmp_path: Path) -> None:
    updates = [pickled(drifted(tiny(), seed=k)) for k in range(2)]
    (tmp_path / "model.pt").write_bytes(pickled(tiny()))
    for k, content in enumerate(updates):
        (tmp_path / f"update-{k}.pt").write_bytes(content)
    actor, _ = registered(server, "actor", actor=True)
    participants = [registered(server, f"client-{k}", client=True) for k in range(2)]

    model_id = actor(
        "/api/models/",
        *form(name="Tiny", description="a model", model_file=f"@{tmp_path / 'model.pt'}"),
        *("-F", "input_shape=None", "-F", "input_shape=3"),
        expect=201,
    )["model_id"]
    training_id = actor(
        "/api/trainings/",
        *json_body(
            {
                "model_id": model_id,
                "target_num_updates": 1,
                "metric_names": ["accuracy"],
                "aggregation_method": "FedAvg",
            }
        ),
        expect=201,
    )["training_id"]
    members = {"clients": [user_id for _, user_id in participants]}
    path = f"/api/trainings/{training_id}/"
    actor(f"{path}clients/", "-X", "PUT", *json_body(members), expect=202)
    actor(f"{path}start/", "-X", "POST", expect=202)

    for k, (curl, _) in enumerate(participants):
        downloaded = curl.download(f"/api/models/{model_id}/", tmp_path / "downloaded.pt")
        assert downloaded == (tmp_path / "model.pt").read_bytes()
        answer = curl(
            f"/api/models/{model_id}/",
            *form(round="0", sample_size=str(k + 1), model_file=f"@{tmp_path / f'update-{k}.pt'}"),
            *("-F", "metric_names=loss", "-F", "metric_names=accuracy"),
            *("-F", "metric_values=0.5", "-F", "metric_values=0.75"),
            expect=201,
        )
        assert answer == {"detail": "Model Update Accepted"}
    wait_until(
        lambda: actor(f"/api/models/{model_id}/metadata/")["round"] == 1, what="the aggregation"
    )
    for curl, _ in participants:
        curl(
            f"/api/models/{model_id}/metrics/",
            *("-d", "metric_names=accuracy", "-d", "metric_values=0.5"),
            *("-d", "metric_names=loss", "-d", "metric_values=0.25"),
            expect=201,
        )

    wait_until(lambda: actor(path)["state"] == "C", what="the end of the training")
    average = weights(actor.download(f"/api/models/{model_id}/", tmp_path / "result.pt"))
    expected = federated_average([(k + 1, weights(update)) for k, update in enumerate(updates)])
    assert list(average) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_allclose(average[name], tensor, rtol=1e-6, err_msg=name)
