"""Following a training over streams that end and break."""

import asyncio
import json
from collections.abc import Callable

import pytest
from starling_client import AsyncStarling, Event, Starling, actor, connection
from starling_client.errors import NotFound, WrongAddress

from tests.client.scripted_servers import Asked, Reply, ScriptedServer, refusal

Follow = Callable[[str], list[Event]]


def follow_sync(url: str) -> list[Event]:
    with Starling(url, "token") as starling:
        return list(starling.trainings.follow("17"))


def follow_async(url: str) -> list[Event]:
    async def follow() -> list[Event]:
        async with AsyncStarling(url, "token") as starling:
            return [event async for event in starling.trainings.follow("17")]

    return asyncio.run(follow())


@pytest.fixture(params=[follow_sync, follow_async], ids=["sync", "async"])
def follow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Follow:
    monkeypatch.setattr(actor, "RECONNECT_SECONDS", 0.0)
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    chosen: Follow = request.param
    return chosen


def told(id: int, kind: str) -> bytes:
    event = {"id": id, "at": "2026-01-31T12:00:00.000123+00:00", "kind": kind, "round": 0}
    return f"id: {id}\nevent: audit\ndata: {json.dumps(event)}\n\n".encode()


def test_a_log_is_followed_over_every_break_and_ends_with_the_training(follow: Follow) -> None:
    half = told(2, "update_accepted")
    replies = iter(
        [
            Reply(200, b"retry: 2000\n\n: still here\n\n" + told(1, "training_started")),
            refusal(503, "The database is away."),
            # Breaks in the middle of an event, which is told again.
            Reply(200, half, cut_after=len(half) - 5),
            None,
            Reply(200, half + told(3, "training_completed") + told(4, "of-nobodys-business")),
        ]
    )
    seen: list[str] = []

    def respond(asked: Asked) -> Reply | None:
        seen.append(asked.headers["last-event-id"])
        assert asked.path == "/api/trainings/17/audit/"
        return next(replies)

    with ScriptedServer(respond) as server:
        events = follow(server.url)

    assert [(event.id, event.kind) for event in events[:3]] == [
        (1, "training_started"),
        (2, "update_accepted"),
        (3, "training_completed"),
    ]
    assert seen == ["0", "1", "1", "1", "1"]


def test_a_training_that_is_not_there_cannot_be_followed(follow: Follow) -> None:
    with (
        ScriptedServer(lambda _: refusal(400, "Training 17 not found.")) as server,
        pytest.raises(NotFound),
    ):
        follow(server.url)


def test_what_tells_something_else_is_a_wrong_address(follow: Follow) -> None:
    with (
        ScriptedServer(lambda _: Reply(200, b"data: hello\n\n")) as server,
        pytest.raises(WrongAddress),
    ):
        follow(server.url)
