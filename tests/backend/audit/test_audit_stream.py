"""The audit log over HTTP as it grows: followed live, and read from its end."""

import pytest

from tests.conftest import ServerMaker
from tests.event_streams import EVENT_STREAM, Event, event_stream
from tests.federations import Federation, MakeFederation, People, Person, training_order
from tests.federations import accepted_model as accepted
from tests.model_files import drifted, tiny, torchscript


def path_of(training_id: str) -> str:
    return f"/api/trainings/{training_id}/audit/"


def read(person: Person, training_id: str, **query: str | int) -> list[dict[str, object]]:
    answer = person.client.get(path_of(training_id), params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def steer(federation: Federation, what: str) -> None:
    answer = federation.actor.client.post(f"/api/trainings/{federation.training_id}/{what}/")
    assert answer.status_code == 202, answer.text


def kinds(events: list[Event]) -> list[object]:
    return [event.data["kind"] for event in events]


def test_a_stream_goes_on_where_the_list_ends(make_federation: MakeFederation) -> None:
    federation = make_federation()
    listed = read(federation.actor, federation.training_id)
    with event_stream(
        federation.actor, f"{path_of(federation.training_id)}?after={listed[-1]['id']}"
    ) as events:
        steer(federation, "pause")
        first = next(events)
        steer(federation, "resume")
        second = next(events)
    steer(federation, "abort")
    # The header counts more than the address, which a browser would repeat as it was.
    with event_stream(
        federation.actor,
        f"{path_of(federation.training_id)}?after={listed[-1]['id']}",
        **{"Last-Event-ID": first.id},
    ) as events:
        again = [next(events) for _ in range(2)]

    assert kinds([first, second]) == ["training_paused", "training_resumed"]
    assert {first.type, second.type} == {"audit"}
    assert [first.data, *(event.data for event in again)] == read(
        federation.actor, federation.training_id, after=int(str(listed[-1]["id"]))
    )
    assert [event.id for event in again] == [str(event.data["id"]) for event in again]


def test_a_participant_follows_what_their_list_shows(make_federation: MakeFederation) -> None:
    federation = make_federation()
    me, other = federation.participants
    already = read(me, federation.training_id)
    with event_stream(me, path_of(federation.training_id)) as events:
        seen = [next(events) for _ in already]
        for person in (other, me):
            content = torchscript(drifted(tiny(), seed=1))
            assert federation.upload(person, content).status_code == 201
        seen += [next(events) for _ in range(3)]

    assert [event.data for event in seen] == read(me, federation.training_id)[: len(seen)]
    assert kinds(seen[-3:]) == ["update_accepted", "round_closed", "round_aggregated"]
    aggregated = dict(seen[-1].data["details"])  # type: ignore[call-overload]
    assert seen[-1].data["redacted"]
    assert [update["owner"] for update in aggregated["updates"]] == [me.id]


def test_the_stream_of_who_is_removed_ends(make_federation: MakeFederation) -> None:
    federation = make_federation()
    me, _ = federation.participants
    with event_stream(me, path_of(federation.training_id)) as events:
        seen = [next(events) for _ in read(me, federation.training_id)]
        answer = federation.actor.client.request(
            "DELETE",
            f"/api/trainings/{federation.training_id}/clients/",
            json={"clients": [me.id]},
        )
        assert answer.status_code == 200, answer.text
        assert list(events) == []

    assert seen
    refused = me.client.get(path_of(federation.training_id), headers={"Accept": EVENT_STREAM})
    assert refused.status_code == 403


def test_the_stream_of_a_deleted_training_ends_with_its_deletion(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation()
    with event_stream(federation.actor, path_of(federation.training_id)) as events:
        next(events)
        answer = federation.actor.client.delete(f"/api/trainings/{federation.training_id}/")
        assert answer.status_code == 200, answer.text
        assert kinds(list(events))[-1] == "training_deleted"


def test_deleting_the_model_is_followed_too(make_user: People) -> None:
    actor = make_user(actor=True)
    model_id = accepted(actor)
    made = actor.client.post("/api/trainings/", json=training_order(model_id))
    with event_stream(actor, path_of(made.json()["training_id"])) as events:
        assert next(events).data["kind"] == "training_created"
        assert actor.client.delete(f"/api/models/{model_id}/").status_code < 300
        assert kinds(list(events)) == ["training_deleted"]


def test_a_stranger_follows_nothing(make_user: People, make_federation: MakeFederation) -> None:
    answer = make_user().client.get(
        path_of(make_federation().training_id), headers={"Accept": EVENT_STREAM}
    )
    assert answer.status_code == 403


def test_a_bad_last_event_id_is_refused_by_name(make_federation: MakeFederation) -> None:
    federation = make_federation()

    answer = federation.actor.client.get(
        path_of(federation.training_id), headers={"Accept": EVENT_STREAM, "Last-Event-ID": "x"}
    )

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["Last-Event-ID"]


def test_a_log_is_read_from_its_end(make_federation: MakeFederation) -> None:
    federation = make_federation()
    for _ in range(3):
        steer(federation, "pause")
        steer(federation, "resume")
    for reader in (federation.actor, federation.participants[0]):
        whole = read(reader, federation.training_id)
        paged = read(reader, federation.training_id, newest="true", limit=2)
        while page := read(
            reader,
            federation.training_id,
            newest="true",
            limit=2,
            before=int(str(paged[-1]["id"])),
        ):
            assert len(page) <= 2
            paged += page

        assert len(whole) > 6
        assert paged == whole[::-1]
        between = {"after": int(str(whole[1]["id"])), "before": int(str(whole[4]["id"]))}
        assert read(reader, federation.training_id, **between) == whole[2:4]


@pytest.mark.parametrize("query", ["before=-1", "before=x", "newest=perhaps"])
def test_a_bad_value_is_refused_by_name(make_federation: MakeFederation, query: str) -> None:
    federation = make_federation()

    answer = federation.actor.client.get(f"{path_of(federation.training_id)}?{query}")

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [query.split("=", maxsplit=1)[0]]


def test_a_server_that_stops_ends_who_follows(new_server: ServerMaker) -> None:
    server = new_server().start_and_wait()
    people = People(server)
    actor = people(actor=True)
    made = actor.client.post("/api/trainings/", json=training_order(accepted(actor)))

    with event_stream(actor, path_of(made.json()["training_id"])) as events:
        next(events)
        server.stop()
        assert list(events) == []
    assert "graceful shutdown exceeded" not in server.log_text()
    people.close()
