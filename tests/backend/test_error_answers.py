"""What is said, and what is logged, when a request goes wrong."""

import json
import logging

import pytest
from litestar import Litestar, Request, post
from litestar.datastructures import State
from litestar.types import HTTPReceiveMessage, HTTPScope, Message

from backend.error_answers import OUTAGE_ANSWERS, answer_error
from backend.errors import CONNECTION_BROKE, OUTAGES


@post("/")
async def _take(request: Request[object, object, State]) -> None:
    await request.body()


async def test_a_sender_who_goes_away_is_no_mistake_of_the_servers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = Litestar([_take], exception_handlers={Exception: answer_error})
    coming: list[HTTPReceiveMessage] = [
        {"type": "http.request", "body": b"half of", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> HTTPReceiveMessage:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: HTTPScope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-length", b"100")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    with caplog.at_level(logging.WARNING):
        await app(scope, receive, send)

    start, body = sent[0], sent[1]
    assert start["type"] == "http.response.start"
    assert body["type"] == "http.response.body"
    assert start["status"] == 400
    assert json.loads(body["body"]) == {"detail": CONNECTION_BROKE}
    assert caplog.records == []


def test_what_passes_by_itself_is_answered_so_and_logged_so() -> None:
    assert all(issubclass(kind, OUTAGES) for kind in OUTAGE_ANSWERS)
    assert set(OUTAGES) <= OUTAGE_ANSWERS.keys()
