"""What a participant sees who polls, or follows a stream, instead of taking webhooks."""

import datetime as dt
import http.client
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.conftest import ServerMaker
from tests.event_streams import EVENT_STREAM, FEED, event_stream
from tests.federations import People, Person, accepted_model, training_order


class Round:
    """A training of people without webhooks, not started."""

    def __init__(self, people: People, *participants: Person) -> None:
        self.actor = people(actor=True)
        self.model_id = accepted_model(self.actor)
        order = training_order(self.model_id, clients=[one.id for one in participants])
        self.id = self.actor.client.post("/api/trainings/", json=order).json()["training_id"]

    def start(self) -> None:
        answer = self.actor.client.post(f"/api/trainings/{self.id}/start/")
        assert answer.status_code == 202, answer.text


def read(person: Person, **query: int) -> list[dict[str, object]]:
    answer = person.client.get(FEED, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def types(items: list[dict[str, object]]) -> list[object]:
    return [item["notification_type"] for item in items]


def test_the_feed_has_what_a_webhook_would_have_brought(make_user: People) -> None:
    participant, other = make_user(client=True), make_user(client=True)
    training = Round(make_user, participant)

    training.start()
    started, first_round = read(participant)

    assert started["notification_type"] == "TRAINING_START"
    assert started["training_uuid"] == training.id
    assert started["body"] == {"global_model_uuid": training.model_id}
    assert first_round["notification_type"] == "UPDATE_ROUND_START"
    assert first_round["body"] == {"round": 0, "global_model_uuid": training.model_id}
    assert set(started) == {"notification_type", "training_uuid", "body", "id", "created_at"}
    created_at = dt.datetime.fromisoformat(str(started["created_at"]))
    assert abs(created_at - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=5)
    assert read(other) == []


def test_pages_follow_each_other_without_gap_or_repeat(make_user: People) -> None:
    participant = make_user(client=True)
    for _ in range(3):
        Round(make_user, participant).start()

    everything = read(participant)
    pages = []
    after = 0
    while page := read(participant, after=after, limit=2):
        pages.append(page)
        after = int(str(page[-1]["id"]))

    assert [len(page) for page in pages] == [2, 2, 2]
    assert [item for page in pages for item in page] == everything
    assert types(everything) == ["TRAINING_START", "UPDATE_ROUND_START"] * 3
    ids = [item["id"] for item in everything]
    assert ids == sorted(set(ids), key=int)


def test_a_poll_is_answered_when_something_is_committed(make_user: People) -> None:
    participant, other = make_user(client=True), make_user(client=True)
    training = Round(make_user, participant)

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(read, participant, wait=60)
        left_alone = threads.submit(read, other, wait=2)
        training.start()

        assert types(waiting.result(timeout=30)) == ["TRAINING_START", "UPDATE_ROUND_START"]
        assert left_alone.result(timeout=30) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        (f"after={2**64}", "after"),
        ("wait=61", "wait"),
        ("wait=0.5", "wait"),
        ("wait=nan", "wait"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
    ],
)
def test_a_bad_value_is_refused_by_name(make_user: People, query: str, field: str) -> None:
    answer = make_user().client.get(f"{FEED}?{query}")

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]


def test_a_bad_last_event_id_is_refused_by_name(make_user: People) -> None:
    headers = {"Accept": EVENT_STREAM, "Last-Event-ID": "yesterday"}

    answer = make_user().client.get(FEED, headers=headers)

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["Last-Event-ID"]


def test_a_stream_goes_on_where_it_was_cut_off(make_user: People) -> None:
    participant = make_user(client=True)
    first, second = Round(make_user, participant), Round(make_user, participant)

    with event_stream(participant) as events:
        first.start()
        seen = [next(events)]
    second.start()
    # The header counts more than the address, which a browser would repeat as it was.
    with event_stream(participant, **{"Last-Event-ID": seen[-1].id}) as events:
        seen += [next(events) for _ in range(3)]

    polled = read(participant)
    assert [event.data for event in seen] == polled
    assert [event.id for event in seen] == [str(item["id"]) for item in polled]
    assert [event.type for event in seen] == types(polled)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        ("text/event-stream, */*;q=0.1", EVENT_STREAM),
    ],
)
def test_the_accept_header_chooses(make_user: People, accept: str, media_type: str) -> None:
    with make_user().client.stream("GET", FEED, headers={"Accept": accept}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)


def test_who_takes_neither_json_nor_events_is_told(make_user: People) -> None:
    assert make_user().client.get(FEED, headers={"Accept": "text/html"}).status_code == 406


def test_head_of_a_stream_ends(make_user: People) -> None:
    person = make_user()

    answer = person.client.head(FEED, headers={"Accept": EVENT_STREAM})

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(EVENT_STREAM)
    # The same connection serves the next request.
    assert read(person) == []


def test_a_server_that_stops_answers_who_waits(new_server: ServerMaker) -> None:
    server = new_server().start_and_wait()
    people = People(server)
    polling, streaming = people(client=True), people(client=True)
    poll = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)

    with event_stream(streaming) as events:
        poll.request("GET", f"{FEED}?wait=60", headers={"Authorization": f"Token {polling.token}"})
        # What was sent before this was received before its answer.
        assert polling.client.get("/health/live").status_code == 200
        server.stop()
        answer = poll.getresponse()

        assert (answer.status, answer.read()) == (200, b"[]")
        assert list(events) == []
    assert "graceful shutdown exceeded" not in server.log_text()
    poll.close()
    people.close()


def test_being_there_is_noted(new_server: ServerMaker) -> None:
    server = new_server().start_and_wait()
    people = People(server)
    present, absent = people(), people()
    before = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)

    read(present)
    server.stop()

    with closing(sqlite3.connect(server.sqlite_path())) as connection:
        rows = connection.execute("SELECT username, last_seen_at FROM starling_user").fetchall()
    seen = {name: at and dt.datetime.fromisoformat(at) for name, at in rows}
    assert before <= seen[present.username] <= dt.datetime.now(dt.UTC)
    assert seen[absent.username] is None
    people.close()
