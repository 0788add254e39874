"""The compute cluster as users and superusers see it."""

import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.accounts import another_superuser, new_superuser
from tests.conftest import ServerMaker
from tests.federations import MakeFederation, People, Person, new_federation
from tests.model_files import drifted, tiny, torchscript
from tests.servers import free_port
from tests.waiting import wait_until
from tests.webhooks import WebhookReceiver

TOTALS = {
    *("cpus", "cpus_used", "gpus", "gpus_used", "memory_bytes", "memory_used_bytes"),
    *("object_store_bytes", "object_store_used_bytes"),
}


def compute(person: Person) -> dict[str, object]:
    answer = person.client.get("/api/compute/")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def superuser(make_user: People) -> Person:
    return another_superuser(make_user)


def test_everybody_sees_what_there_is_but_not_where(make_user: People) -> None:
    shown = compute(make_user())

    assert (shown["ready"], shown["detail"], shown["embedded"]) == (True, "", False)
    totals: dict[str, float] = shown["totals"]  # type: ignore[assignment]
    assert set(totals) == TOTALS
    assert totals["cpus"] == 16
    assert 0 < totals["memory_used_bytes"] < totals["memory_bytes"]
    assert [shown[part] for part in ("nodes", "actors", "dashboard")] == [None] * 3


def test_a_superuser_sees_nodes_and_who_works_on_which_training(
    superuser: Person, make_federation: MakeFederation
) -> None:
    federation = make_federation()
    answer = federation.upload(federation.participants[0], torchscript(drifted(tiny(), seed=1)))
    assert answer.status_code == 201, answer.text

    def serving() -> list[dict[str, object]]:
        actors: list[dict[str, object]] = compute(superuser)["actors"]  # type: ignore[assignment]
        return [one for one in actors if one["training"] == federation.training_id]

    (aggregator,) = wait_until(serving, what="the training's aggregator")
    shown = compute(superuser)
    (node,) = shown["nodes"]  # type: ignore[misc]
    assert (node["alive"], node["head"], node["cpus"]) == (True, True, 16)
    assert (aggregator["kind"], aggregator["state"]) == ("aggregator", "ALIVE")
    assert (aggregator["training_name"], aggregator["node"]) == ("Tiny", node["id"])
    assert isinstance(aggregator["pid"], int)


def test_a_superuser_sees_which_model_a_predictor_has(
    superuser: Person, make_federation: MakeFederation
) -> None:
    federation = make_federation(model=torchscript(drifted(tiny(), seed=77)), started=False)
    order = {"model_id": federation.model_id, "model_input": [[0.0, 1.0, 2.0]]}
    answer = federation.actor.client.post("/api/inference/", json=order)
    assert answer.status_code == 200, answer.text

    # Others may predict with something else meanwhile.
    wait_until(
        lambda: (
            federation.model_id
            in [one["model"] for one in compute(superuser)["actors"] if one["kind"] == "predictor"]
        ),  # type: ignore[attr-defined]
        what="the predictor",
    )


def test_a_cluster_without_dashboard_says_how_to_get_one(superuser: Person) -> None:
    dashboard: dict[str, object] = compute(superuser)["dashboard"]  # type: ignore[assignment]

    assert (dashboard["url"], dashboard["token_command"]) == (None, None)
    assert "--include-dashboard=true" in str(dashboard["how"])


def test_what_the_command_prints_opens_the_dashboard(
    new_server: ServerMaker, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(secrets.token_hex(32))
    environment = {
        "STARLING_RAY_DASHBOARD": "true",
        "STARLING_RAY_DASHBOARD_PORT": str(free_port()),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
    }
    server = new_server(environment, shared_cluster=False).start_and_wait()
    people = People(server)
    shown = compute(new_superuser(people))
    dashboard: dict[str, str] = shown["dashboard"]  # type: ignore[assignment]
    program, *arguments = dashboard["token_command"].split()

    printed = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        env=server._environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert shown["embedded"]
    assert dashboard["token_command"] in dashboard["how"]
    path = f"{dashboard['url']}nodes?view=summary"
    assert httpx.get(path, timeout=60).status_code == 401
    headers = {"Authorization": f"Bearer {printed}"}
    assert httpx.get(path, headers=headers, timeout=60).status_code == 200
    people.close()
    server.stop()


def test_a_server_that_keeps_no_worker_ready_starts_only_what_is_wanted(
    new_server: ServerMaker, webhooks: WebhookReceiver
) -> None:
    server = new_server({"STARLING_KEEP_WORKERS_READY": "false"}).start_and_wait()
    people = People(server)
    superuser = new_superuser(people)
    federation = new_federation(people, webhooks)
    assert compute(superuser)["actors"] == []

    answer = federation.upload(federation.participants[0], torchscript(drifted(tiny(), seed=1)))
    assert answer.status_code == 201, answer.text

    def kinds() -> list[object]:
        actors: list[dict[str, object]] = compute(superuser)["actors"]  # type: ignore[assignment]
        return [one["kind"] for one in actors]

    wait_until(lambda: kinds() == ["aggregator"], what="the training's aggregator alone")
    people.close()


def test_a_cluster_that_is_not_there_is_an_answer(new_server: ServerMaker) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = new_server({"RAY_ADDRESS": address}).start()
    server.wait_until_answers("/health/live", 200)
    people = People(server)
    superuser, other = new_superuser(people), people()

    shown, known = compute(other), compute(superuser)

    assert (shown["ready"], known["ready"]) == (False, False)
    assert set(shown["totals"].values()) == {0}  # type: ignore[attr-defined]
    assert shown["detail"] == "The cluster is not there."
    assert (known["nodes"], known["actors"]) == ([], [])
    people.close()
    server.stop()
