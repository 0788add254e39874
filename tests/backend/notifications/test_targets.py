"""Where webhooks go and where they do not, as a user and an operator see it."""

import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.conftest import ServerMaker
from tests.federations import People, accepted_model, training_order
from tests.servers import Server
from tests.waiting import wait_until


def registered(client: httpx.Client, endpoint: str) -> httpx.Response:
    wanted = {
        "username": f"hook-{secrets.token_hex(4)}",
        "password": "pw",
        "message_endpoint": endpoint,
    }
    return client.post("/api/users/", json=wanted)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104 - refused, not bound
        "224.0.0.1",
    ],
)
def test_an_endpoint_that_no_webhook_may_reach_is_refused(
    anonymous: httpx.Client, host: str
) -> None:
    answer = registered(anonymous, f"http://{host}/hook")

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["message_endpoint"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9", "localhost:9", "[::1]:9", "10.0.0.1", "hook.example", "1.1.1.1"]
)
def test_on_loopback_everything_else_is_fine(anonymous: httpx.Client, host: str) -> None:
    assert registered(anonymous, f"http://{host}/hook").status_code == 201


class Redirecting:
    """An endpoint that sends every notification on to another address of its own."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.paths.append(self.path)
                self.send_response(307)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def redirecting() -> Iterator[Redirecting]:
    endpoint = Redirecting()
    yield endpoint
    endpoint.stop()


def start_training_with(people: People, endpoint: str) -> None:
    """A participant with this endpoint is told that a training starts."""
    actor, participant = people(actor=True), people(client=True, message_endpoint=endpoint)
    order = training_order(accepted_model(actor), clients=[participant.id])
    training_id = actor.client.post("/api/trainings/", json=order).json()["training_id"]
    answer = actor.client.post(f"/api/trainings/{training_id}/start/")
    assert answer.status_code == 202, answer.text


def test_redirects_are_not_followed(make_user: People, redirecting: Redirecting) -> None:
    url = f"http://127.0.0.1:{redirecting.server.server_port}/hook"

    start_training_with(make_user, url)

    # The second try shows that the first one counted as a failure.
    wait_until(lambda: len(redirecting.paths) >= 2, what="two deliveries")
    assert set(redirecting.paths) == {"/hook"}


def failures(server: Server) -> list[str]:
    with closing(sqlite3.connect(server.sqlite_path())) as connection:
        rows = connection.execute(
            "SELECT last_error FROM notification WHERE last_error IS NOT NULL"
        ).fetchall()
    return [text for (text,) in rows]


def test_a_stricter_policy_holds_for_endpoints_that_exist(new_server: ServerMaker) -> None:
    server = new_server().start_and_wait()
    people = People(server)
    endpoint = "http://10.255.255.1:9/hook"
    participant = people(client=True, message_endpoint=endpoint)
    server.stop()
    server._environment["STARLING_WEBHOOK_PUBLIC_ONLY"] = "1"

    server.start_and_wait()
    actor = people(actor=True)
    refused = registered(actor.client, endpoint)
    order = training_order(accepted_model(actor), clients=[participant.id])
    training_id = actor.client.post("/api/trainings/", json=order).json()["training_id"]
    actor.client.post(f"/api/trainings/{training_id}/start/")

    (failure,) = wait_until(lambda: failures(server), what="a refused delivery")
    assert "private network" in failure
    assert refused.status_code == 400
    people.close()
    server.stop()
