"""What users change about themselves."""

import pytest

from tests.federations import People, Person

MYSELF = "/api/users/myself/"
PROFILE = MYSELF + "profile/"
CHANGES = {
    "message_endpoint": "http://hook.example/new",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "ada@example.com",
}


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user(client=True, message_endpoint="http://hook.example/old", email="a@example.com")


def test_every_field_that_may_change_changes(person: Person) -> None:
    before = person.client.get(MYSELF).json()

    answer = person.client.patch(PROFILE, json=CHANGES)

    assert answer.status_code == 200
    assert answer.json() == {**before, **CHANGES} == person.client.get(MYSELF).json()


def test_what_is_left_out_stays(person: Person) -> None:
    before = person.client.get(MYSELF).json()

    answer = person.client.patch(PROFILE, json={"message_endpoint": ""})

    assert answer.json() == {**before, "message_endpoint": ""}
    assert person.client.patch(PROFILE, json={}).json() == answer.json()


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"username": "root"}, "username"),
        ({"superuser": True}, "superuser"),
        ({"actor": True}, "actor"),
        ({"password": "new"}, "password"),
        ({"id": "00000000-0000-0000-0000-000000000000"}, "id"),
        ({"message_endpoint": "ftp://hook.example/"}, "message_endpoint"),
        ({"message_endpoint": "http://169.254.169.254/"}, "message_endpoint"),
        ({"message_endpoint": None}, "message_endpoint"),
        ({"first_name": 1}, "first_name"),
        ({"email": "a\0b"}, "email"),
    ],
)
def test_anything_else_is_refused_by_name(
    person: Person, order: dict[str, object], field: str
) -> None:
    before = person.client.get(MYSELF).json()

    answer = person.client.patch(PROFILE, json={**order, "last_name": "Changed"})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert person.client.get(MYSELF).json() == before


def test_nobody_changes_somebody_else(person: Person, make_user: People) -> None:
    other = make_user()

    assert other.client.patch(f"/api/users/{person.id}/", json=CHANGES).status_code == 405
    assert other.client.get("/api/users/myself/webhook-secret/").json() != (
        person.client.get("/api/users/myself/webhook-secret/").json()
    )
