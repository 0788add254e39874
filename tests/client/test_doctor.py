"""What the doctor says about a well server, and about everything that may be in the way."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from starling_client import connection
from starling_client.command_line import main
from starling_client.doctor import Verdict, clock_finding

from tests.client.scripted_servers import Reply, ScriptedServer, refusal
from tests.federations import MakeFederation, People
from tests.servers import Server, free_port

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)


def doctor(url: str, token: str | None, *more: str) -> Result:
    given: Sequence[str] = ["--url", url, *(["--token", token] if token else []), *more]
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["doctor", *given])


@pytest.mark.parametrize(
    ("date", "verdict", "says"),
    [
        ("Mon, 04 May 2026 11:59:59 GMT", Verdict.GOOD, "agree"),
        ("Mon, 04 May 2026 12:01:00 GMT", Verdict.GOOD, "agree"),
        ("Mon, 04 May 2026 12:10:01 GMT", Verdict.WARNING, "600 s behind"),
        ("Mon, 04 May 2026 11:49:59 GMT", Verdict.WARNING, "600 s ahead of"),
    ],
)
def test_a_clock_that_is_wrong_is_told_by_how_much(date: str, verdict: Verdict, says: str) -> None:
    finding = clock_finding(date, NOW)
    assert finding is not None
    assert finding.verdict is verdict
    assert says in finding.found
    assert bool(finding.advice) is (verdict is Verdict.WARNING)


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_server_that_does_not_tell_the_time_is_not_blamed(date: str | None) -> None:
    assert clock_finding(date, NOW) is None


def test_a_torch_that_cannot_be_loaded_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    ended = CliRunner().invoke(main, ["doctor", "--url", f"http://127.0.0.1:{free_port()}"])

    assert ended.exit_code == 1, ended.output
    assert "PyTorch cannot be loaded" in ended.output
    assert "Install PyTorch again." in ended.output


def test_all_is_well(server: Server, make_federation: MakeFederation) -> None:
    federation = make_federation(rounds=2)
    participant = federation.participants[0]
    checked = doctor(server.url, participant.token, "--training", federation.training_id)
    assert checked.exit_code == 0, checked.output
    assert "✗" not in checked.output
    assert "!" not in checked.output
    assert f"{participant.username}, user id {participant.id}" in checked.output
    assert "round 1 of 2, collecting" in checked.output
    listing = doctor(server.url, participant.token)
    assert f"Not over: {federation.training_id}." in listing.output


def test_what_is_in_the_way_is_named_with_what_to_do(
    server: Server,
    make_federation: MakeFederation,
    make_user: People,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    federation = make_federation(rounds=1, started=False)
    stranger = make_user()

    nobody = doctor(server.url, None)
    assert nobody.exit_code == 1
    assert "✗ credentials" in nobody.output
    assert "starling-client register" in nobody.output
    wrong = doctor(server.url, "0" * 40)
    assert wrong.exit_code == 1
    assert "✗ credentials  Invalid token." in wrong.output
    uninvited = doctor(server.url, stranger.token, "--training", federation.training_id)
    assert uninvited.exit_code == 1
    assert f"→ Ask its actor to invite you, by your user name {stranger.username}." in (
        uninvited.output
    )
    unknown = doctor(server.url, stranger.token, "--training", "17")
    assert unknown.exit_code == 1
    assert "✗ training" in unknown.output
    idle = doctor(server.url, stranger.token)
    assert idle.exit_code == 0
    assert "! trainings" in idle.output
    running = doctor(server.url, federation.actor.token, "--training", federation.training_id)
    assert "You run it and take no part in it." in running.output
    monkeypatch.setattr(connection, "FIRST_PATIENCE_SECONDS", 0.0)
    nowhere = doctor(f"http://127.0.0.1:{free_port()}", "0" * 40)
    assert nowhere.exit_code == 1
    assert "cannot be reached" in nowhere.output
    assert "→ Try: curl" in nowhere.output
    assert "STARLING_CLIENT_URL" in doctor("", None).output


def test_other_servers_and_other_versions_are_noticed() -> None:
    with ScriptedServer(lambda _: Reply(200, b"<html>")) as website:
        page = doctor(website.url, "0" * 40)
    assert page.exit_code == 1
    assert "answers, but not as a Starling server does" in page.output

    def newer(path: str) -> Reply:
        match path:
            case "/api/session/":
                return Reply(200, b'{"version": "7.0.0"}')
            case "/health/ready/":
                return refusal(503, "No compute.")
            case "/api/users/myself/":
                return Reply(
                    200, b'{"id": "00000000-0000-0000-0000-000000000001", "username": "u"}'
                )
            case "/api/users/trainings/":
                return Reply(200, b"[]")
            case _:
                return Reply(200, b'{"status": "ok"}')

    with ScriptedServer(lambda asked: newer(asked.path)) as server:
        checked = doctor(server.url, "0" * 40)
    assert "pip install 'starling-client==7.0.0'" in checked.output
    assert "! parts" in checked.output
