"""Webhooks are taken for what they are when the server signed them, and only then."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Signer
from starling_client.connection import Connection, Line
from starling_client.errors import MissingSetting
from starling_client.webhooks import Webhook, WebhookReceiver, is_signed

from tests.federations import People
from tests.servers import Server

SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
NOW = 1_800_000_000


def signed(body: bytes, *, at: float = NOW) -> dict[str, str]:
    moment = datetime.fromtimestamp(at, UTC)
    return {
        "webhook-id": "42",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": Signer(SECRET).sign("42", moment, body.decode()),
    }


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_what_the_standard_signs_is_taken(text: str) -> None:
    assert is_signed(SECRET, signed(text.encode()), text.encode(), now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"webhook-id": "43"}, id="another-id"),
        pytest.param({"webhook-timestamp": str(NOW + 1)}, id="another-time"),
        pytest.param({"webhook-timestamp": "soon"}, id="no-time"),
        pytest.param({"webhook-signature": "v1,AAAA v2,BBBB"}, id="another-signature"),
        pytest.param({"webhook-signature": ""}, id="none"),
        pytest.param({"webhook-signature": "v1,ä"}, id="not-ascii"),
    ],
)
def test_what_was_changed_is_refused(changes: dict[str, str]) -> None:
    assert not is_signed(SECRET, signed(b"{}") | changes, b"{}", now=NOW)


def test_another_body_and_an_old_webhook_are_refused() -> None:
    assert not is_signed(SECRET, signed(b"{}"), b"[]", now=NOW)
    assert is_signed(SECRET, signed(b"{}"), b"{}", now=NOW + 299)
    assert not is_signed(SECRET, signed(b"{}"), b"{}", now=NOW + 301)


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def receiver(woken: threading.Event) -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver(Webhook(), woken)
    yield receiver
    receiver.close()


def test_a_receiver_wakes_for_signed_webhooks_of_its_server_alone(
    server: Server, make_user: People, receiver: WebhookReceiver, woken: threading.Event
) -> None:
    person = make_user()
    body = b'{"notification_type": "TRAINING_START"}'
    assert httpx.post(receiver.url, content=body, headers=signed(body)).status_code == 401

    with Connection(Line(server.url, person.token, 60.0)) as connection:
        connection.run(receiver.register())
        profile = person.client.get("/api/users/myself/").json()
        assert profile["message_endpoint"] == receiver.url
        secret = person.client.get("/api/users/myself/webhook-secret/").json()["webhook_secret"]
        assert httpx.post(receiver.url, content=body, headers=signed(body)).status_code == 401
        assert not woken.is_set()
        moment = datetime.fromtimestamp(time.time(), UTC)
        headers = {
            "webhook-id": "1",
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Signer(secret).sign("1", moment, body.decode()),
        }
        assert httpx.post(receiver.url, content=body, headers=headers).status_code == 202
        assert woken.is_set()
        connection.run(receiver.unregister())

    assert person.client.get("/api/users/myself/").json()["message_endpoint"] == ""


def test_too_much_is_not_read(receiver: WebhookReceiver) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", httpx.URL(receiver.url).port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(10**9))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_an_address_that_is_taken_is_named(
    receiver: WebhookReceiver, woken: threading.Event
) -> None:
    port = httpx.URL(receiver.url).port or 0
    with pytest.raises(MissingSetting, match=f":{port}.*choose another port"):
        WebhookReceiver(Webhook(port=port), woken)
