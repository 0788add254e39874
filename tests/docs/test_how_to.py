"""The commands and orders of the how-tos, tried on one server."""

import configparser
import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from backend.server import LONGEST_SHUTDOWN_SECONDS
from backend.settings import VARIABLES, load_settings
from tests.docs.conftest import Deployed, deployed_settings
from tests.docs.pages import BASH, Page, reader, run
from tests.federations import Person, accepted_model, training_order
from tests.servers import REPOSITORY

DEPLOY = Page("how-to/deploy.md")
NAMES = {variable.name for variable in VARIABLES}
ORDERS = [
    (name, number)
    for name, orders in (("how-to/method.md", 3), ("how-to/quorum.md", 1), ("trainings.md", 1))
    for number in range(orders)
]


def started(deployed: Deployed) -> tuple[str, str, Person]:
    """Ids of a model and its running training, and its one participant."""
    actor, participant = deployed.person("actor"), deployed.person("participant")
    model_id = accepted_model(actor)
    order = training_order(model_id, target_num_updates=1, clients=[participant.id])
    training_id = actor.client.post("/api/trainings/", json=order).json()["training_id"]
    answer = actor.client.post(f"/api/trainings/{training_id}/start/")
    assert answer.status_code == 202, answer.text
    return model_id, training_id, participant


def test_a_participant_behind_a_firewall_takes_part_with_curl(
    deployed: Deployed, tmp_path: Path
) -> None:
    _, training_id, participant = started(deployed)
    commands = "".join(Page("how-to/firewall.md").blocks("bash"))

    printed = run(commands, tmp_path, {"URL": deployed.server.url, "TOKEN": participant.token})

    assert "Model Update Accepted" in printed
    *_, news = printed.partition("[")
    assert [each["notification_type"] for each in json.loads(f"[{news}")] == ["MODEL_TEST_ROUND"]
    training = participant.client.get(f"/api/trainings/{training_id}/").json()
    assert training["state"] == "O"


def test_notifications_are_pulled_and_streamed_as_their_page_says(
    deployed: Deployed, tmp_path: Path
) -> None:
    _, training_id, participant = started(deployed)
    (block,) = Page("notifications.md").blocks("bash")
    pulling, streaming = block.split("# A stream")
    asked = {"URL": deployed.server.url, "TOKEN": participant.token, "LAST": "0"}

    printed = run(pulling, tmp_path, asked)

    decoder = json.JSONDecoder()
    profile, end = decoder.raw_decode(printed)
    assert profile["message_endpoint"] == "https://me.example/hook"
    at_once, length = decoder.raw_decode(printed[end:])
    assert [each["training_uuid"] for each in at_once] == [training_id] * 2
    assert json.loads(printed[end + length :]) == at_once
    with subprocess.Popen(
        [BASH, "-euo", "pipefail", "-c", f"exec curl{streaming.partition('curl')[2]}"],
        env=reader(asked),
        stdout=subprocess.PIPE,
        text=True,
    ) as stream:
        assert stream.stdout is not None
        data = (line.removeprefix("data: ") for line in stream.stdout if line.startswith("data: "))
        assert [json.loads(next(data)) for _ in range(2)] == at_once
        stream.terminate()


@pytest.mark.parametrize(("name", "number"), ORDERS)
def test_an_order_of_a_page_is_accepted(deployed: Deployed, name: str, number: int) -> None:
    order = json.loads(Page(name).blocks("json")[number])
    actor, participant = deployed.person("actor"), deployed.person("participant")
    order |= {"model_id": accepted_model(actor), "clients": [participant.id]}

    answer = actor.client.post("/api/trainings/", json=order)

    assert answer.status_code == 201, answer.text
    kept = actor.client.get(f"/api/trainings/{answer.json()['training_id']}/").json()
    assert kept["options"].items() >= order["options"].items()


@pytest.mark.parametrize("name", sorted({name for name, _ in ORDERS}))
def test_no_order_of_a_page_is_left_out(name: str) -> None:
    assert len(Page(name).blocks("json")) == [each for each, _ in ORDERS].count(name)


def test_the_rehearsal_of_quorum_and_deadline_runs(tmp_path: Path) -> None:
    page = Page("how-to/quorum.md")
    (experiment,) = page.blocks("toml")
    (tmp_path / "absent.toml").write_text(experiment)

    printed = run("".join(page.blocks("bash")), tmp_path, {})

    with (tmp_path / "absent" / "rounds.csv").open() as file:
        rounds = list(csv.DictReader(file))
    assert len(rounds) == 10
    assert {"outcome", "drawn", "delivered", "needed", "extended"} <= set(list(rounds[0])[:8])
    assert all(int(each["delivered"]) < int(each["drawn"]) == 30 for each in rounds)
    assert printed.splitlines()[-1].split(",") == list(rounds[-1].values())[:8]


def test_people_come_in_by_invitation_and_lose_their_tokens(
    deployed: Deployed, tmp_path: Path
) -> None:
    commands = "".join(Page("how-to/secure.md").blocks("bash"))

    run(commands, tmp_path, deployed.operator({"PASSWORD": "hospital-secret"}))

    registered = json.loads((tmp_path / "registered.json").read_text())
    new = (tmp_path / "new.token").read_text().strip()
    assert new != registered["token"]
    with deployed.server.client() as client:
        for token in (registered["token"], new):
            headers = {"Authorization": f"Token {token}"}
            assert client.get("/api/users/myself/", headers=headers).status_code == 401
        account = {"username": "uninvited", "password": "has-a-secret"}
        assert client.post("/api/users/", json=account).status_code == 403


def test_the_unit_starts_what_the_page_sets_up_and_waits_for_its_end() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(DEPLOY.file("/etc/systemd/system/starling.service"))
    service, settings = unit["Service"], deployed_settings()

    assert service["EnvironmentFile"] == "/etc/starling.env"
    program, *arguments = service["ExecStart"].removeprefix("/opt/starling/").split()
    assert (program, arguments) == (".venv/bin/starling", ["serve"])
    assert settings["STARLING_DATA_DIR"] == f"/var/lib/{service['StateDirectory']}"
    assert int(service["TimeoutStopSec"]) > LONGEST_SHUTDOWN_SECONDS
    loaded = load_settings({}, settings)
    assert loaded.access.registration == "invitation"
    assert loaded.http.base_url == "https://starling.example"
    assert settings.keys() <= NAMES


def test_the_compose_file_sets_what_the_server_knows() -> None:
    compose = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
    given = compose["services"]["starling"]["environment"]
    filled = {name: re.sub(r"\$\{[^}]*\}", "x" * 32, value) for name, value in given.items()}
    filled["STARLING_PUBLIC_URL"] = "https://starling.example"

    settings = load_settings({}, filled)

    assert {name for name in given if not name.startswith("AWS_")} <= NAMES
    assert settings.storage.database.startswith("postgresql://")
    assert settings.storage.blobs.startswith("s3://starling/blobs?")
    example = (REPOSITORY / "deploy" / "example.env").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", (REPOSITORY / "deploy/compose.yaml").read_text()))
    assert wanted <= set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE))
