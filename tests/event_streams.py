"""A client of server-sent events that reads as much as a test asks for."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from tests.federations import Person

FEED = "/api/users/myself/notifications/"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Event:
    """One event as it arrived."""

    id: str
    type: str
    data: dict[str, object]


@contextlib.contextmanager
def event_stream(person: Person, path: str = FEED, **headers: str) -> Iterator[Iterator[Event]]:
    """The person's stream, of notifications by default; ends when the server ends it."""
    with person.client.stream(
        "GET", path, headers={"Accept": EVENT_STREAM, **headers}, timeout=60
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(EVENT_STREAM)
        yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
        fields = {}
