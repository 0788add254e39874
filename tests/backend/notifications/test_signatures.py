"""Webhooks are signed as Standard Webhooks says, and verify as our document shows."""

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from backend.security.webhook_signatures import derive_webhook_secret, signature_headers
from tests.accounts import printed
from tests.federations import MakeFederation, Person
from tests.servers import REPOSITORY, Server
from tests.webhooks import Notification

Accept = Callable[[str, Mapping[str, str], bytes, int], dict[str, object] | None]


def documented_accept() -> Accept:
    """The function of docs/notifications.md."""
    text = (REPOSITORY / "docs" / "notifications.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - our own document
    return names["accept"]  # type: ignore[return-value]


def secret_of(person: Person) -> str:
    answer = person.client.get("/api/users/myself/webhook-secret/")
    assert answer.status_code == 200, answer.text
    (secret,) = answer.json().values()
    return str(secret)


def first_webhook(make_federation: MakeFederation) -> tuple[Person, Notification]:
    federation = make_federation(participants=1)
    (participant,) = federation.participants
    return participant, federation.told(participant, "TRAINING_START")[0]


def test_the_vector_of_the_reference_libraries() -> None:
    headers = signature_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_library_signs_alike() -> None:
    secret = derive_webhook_secret("server", uuid4(), 0)
    now = int(time.time())
    payload = '{"wörter": "ünsafe"}'

    headers = signature_headers(secret, "7", now, payload.encode())

    expected = Webhook(secret).sign("7", datetime.fromtimestamp(now, tz=UTC), payload)
    assert headers["webhook-signature"] == expected


def test_every_user_and_every_generation_has_a_key_of_its_own() -> None:
    one, other = uuid4(), uuid4()

    keys = {
        derive_webhook_secret(secret, user, generation)
        for secret in ("a", "b")
        for user in (one, other)
        for generation in (0, 1)
    }

    assert len(keys) == 8
    assert all(key.startswith("whsec_") for key in keys)


def test_a_webhook_verifies_as_documented(make_federation: MakeFederation) -> None:
    participant, sent = first_webhook(make_federation)
    accept, secret = documented_accept(), secret_of(participant)
    (in_feed, *_) = participant.client.get("/api/users/myself/notifications/").json()

    assert accept(secret, sent.headers, sent.raw, 0) == sent.payload
    assert int(sent.headers["webhook-id"]) == in_feed["id"]
    assert sent.payload == {key: in_feed[key] for key in sent.payload}
    assert accept(secret, sent.headers, sent.raw, in_feed["id"]) is None


def test_what_was_tampered_with_does_not_verify(make_federation: MakeFederation) -> None:
    participant, sent = first_webhook(make_federation)
    accept, secret = documented_accept(), secret_of(participant)
    later = str(int(sent.headers["webhook-timestamp"]) + 1)
    tampered = [
        (secret, sent.headers, json.dumps({**sent.payload, "training_uuid": "x"}).encode()),
        (secret, {**sent.headers, "webhook-id": "999999"}, sent.raw),
        (secret, {**sent.headers, "webhook-timestamp": later}, sent.raw),
        (derive_webhook_secret("x", uuid4(), 0), sent.headers, sent.raw),
        (secret, {}, sent.raw),
    ]

    for given in tampered:
        with pytest.raises(WebhookVerificationError):
            accept(*given, 0)


def test_a_new_token_comes_with_a_new_key(server: Server, make_federation: MakeFederation) -> None:
    federation = make_federation(participants=1, started=False)
    (participant,) = federation.participants
    before = secret_of(participant)

    token = printed(server, "token", participant.username, "--rotate")
    participant.client.headers["Authorization"] = f"Token {token}"
    after = secret_of(participant)
    federation.start()
    sent = federation.told(participant, "TRAINING_START")[0]

    assert before != after
    assert Webhook(after).verify(sent.raw, dict(sent.headers)) == sent.payload
    with pytest.raises(WebhookVerificationError):
        Webhook(before).verify(sent.raw, dict(sent.headers))
