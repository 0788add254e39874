"""What users do with their own password and token."""

import pytest

from tests.browsers import browser, is_signed_in, sign_in
from tests.federations import People, Person
from tests.servers import Server

MYSELF = "/api/users/myself/"
PASSWORD = f"{MYSELF}password/"
TOKEN = f"{MYSELF}token/"


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user()


def changed(person: Person, new: str = "another") -> dict[str, str]:
    return {"current_password": person.password, "new_password": new}


def test_a_new_password_ends_every_other_session(server: Server, person: Person) -> None:
    with browser(server, person) as here, browser(server, person) as there:
        answer = here.post(PASSWORD, json=changed(person))

        assert answer.status_code == 204, answer.text
        assert is_signed_in(here)
        assert not is_signed_in(there)
        assert here.get(MYSELF, headers=person.basic()).status_code == 401
        sign_in(there, person.username, "another")
        assert is_signed_in(there)
    assert person.client.get(MYSELF).status_code == 200


def test_changed_with_a_token_it_ends_all_sessions(server: Server, person: Person) -> None:
    with browser(server, person) as client:
        answer = person.client.post(PASSWORD, json=changed(person))

        assert answer.status_code == 204
        assert not is_signed_in(client)


def test_nobody_else_is_signed_out(server: Server, person: Person, make_user: People) -> None:
    with browser(server, make_user()) as neighbour:
        person.client.post(PASSWORD, json=changed(person))

        assert is_signed_in(neighbour)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"current_password": "wrong"}, "current_password"),
        ({"current_password": ""}, "current_password"),
        ({"new_password": ""}, "new_password"),
        ({"new_password": "a\0b"}, "new_password"),
        ({"new_password": 1}, "new_password"),
        ({"username": "root"}, "username"),
    ],
)
def test_a_refused_change_names_the_field_and_changes_nothing(
    server: Server, person: Person, fields: dict[str, object], field: str
) -> None:
    with browser(server, person) as client, browser(server, person) as other:
        answer = client.post(PASSWORD, json={**changed(person), **fields})

        assert answer.status_code == 400
        assert list(answer.json()["errors"]) == [field]
        assert field in answer.json()["detail"]
        assert is_signed_in(other)
        sign_in(other, person.username, person.password)


def test_who_has_only_the_session_cannot_guess_the_password(server: Server, person: Person) -> None:
    with browser(server, person) as client:
        wrong = {"current_password": "wrong", "new_password": "stolen"}
        statuses = [client.post(PASSWORD, json=wrong).status_code for _ in range(10)]
        answer = client.post(PASSWORD, json=changed(person, "stolen"))

    assert statuses == [400] * 10
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


def test_a_new_token_replaces_the_old_one_and_sessions_go_on(
    server: Server, person: Person
) -> None:
    with browser(server, person) as client:
        answer = client.post(TOKEN)
        token = answer.json()["token"]

        assert answer.status_code == 200
        assert list(answer.json()) == ["token"]
        assert len(token) == 40
        assert token != person.token
        assert person.client.get(MYSELF).status_code == 401
        assert is_signed_in(client)
        assert client.get(f"/api/users/{person.id}/").json()["token"] == token
    with server.client() as scripted:
        authorization = {"Authorization": f"Token {token}"}
        assert scripted.get(MYSELF, headers=authorization).json()["id"] == person.id
        assert scripted.post(TOKEN, headers=authorization).json()["token"] not in {
            token,
            person.token,
        }
