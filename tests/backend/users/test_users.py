import secrets
from collections.abc import Callable

import httpx
import pytest

from tests.federations import MakeFederation, People
from tests.servers import Server

USER_FIELDS = {
    "username",
    "first_name",
    "last_name",
    "email",
    "id",
    "actor",
    "client",
    "message_endpoint",
}


def new_name() -> str:
    return f"new-{secrets.token_hex(4)}"


def test_registration_answers_the_user_with_a_token(anonymous: httpx.Client) -> None:
    username = new_name()
    given = {
        "username": username,
        "password": "secret",
        "actor": True,
        "client": True,
        "first_name": "Jane",
        "last_name": "Doe",
        "email": "jane@example.com",
        "message_endpoint": "http://client.example/hook",
    }

    answer = anonymous.post("/api/users/", json=given)

    assert answer.status_code == 201
    user = answer.json()
    assert set(user) == USER_FIELDS | {"token"}
    assert {**given, "password": None} == {
        **{key: value for key, value in user.items() if key in given},
        "password": None,
    }
    assert len(user["token"]) == 40
    assert set(user["token"]) <= set("0123456789abcdef")


def test_what_registration_leaves_out_is_empty(anonymous: httpx.Client) -> None:
    username = new_name()

    user = anonymous.post("/api/users/", json={"username": username, "password": "pw"}).json()

    del user["id"], user["token"]
    assert user == {
        "username": username,
        "first_name": "",
        "last_name": "",
        "email": "",
        "actor": False,
        "client": False,
        "message_endpoint": "",
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"username": None}, "username", id="null-username"),
        pytest.param({"username": ...}, "username", id="missing-username"),
        pytest.param({"username": ""}, "username", id="empty-username"),
        pytest.param({"username": "u" * 151}, "username", id="long-username"),
        pytest.param({"username": 7}, "username", id="number-as-username"),
        pytest.param({"password": ...}, "password", id="missing-password"),
        pytest.param({"password": ""}, "password", id="empty-password"),
        pytest.param({"actor": "true"}, "actor", id="text-as-flag"),
        pytest.param({"actor": None}, "actor", id="null-as-flag"),
        pytest.param({"client": 1}, "client", id="number-as-flag"),
        pytest.param({"message_endpoint": "not a url"}, "message_endpoint", id="endpoint-no-url"),
        pytest.param(
            {"message_endpoint": "ftp://x.example/"}, "message_endpoint", id="ftp-endpoint"
        ),
        pytest.param({"message_endpoint": "http://"}, "message_endpoint", id="endpoint-no-host"),
        pytest.param({"email": 3}, "email", id="number-as-email"),
        pytest.param({"foo": 1}, "foo", id="unknown-field"),
        pytest.param({"is_superuser": True}, "is_superuser", id="superuser"),
        pytest.param({"is_staff": True}, "is_staff", id="staff"),
        pytest.param({"id": "4e135603-0771-4890-bacb-b0c7486174ec"}, "id", id="own-id"),
        pytest.param({"token": "0" * 40}, "token", id="own-token"),
    ],
)
def test_registration_names_the_field_at_fault(
    server: Server, anonymous: httpx.Client, changes: dict[str, object], field: str
) -> None:
    before = server.holdings()
    order = {"username": new_name(), "password": "pw", **changes}

    answer = anonymous.post(
        "/api/users/", json={key: value for key, value in order.items() if value is not ...}
    )

    assert answer.status_code == 400, answer.text
    assert field in answer.json()["detail"]
    assert field in answer.json()["errors"]
    assert server.holdings().new_since(before) == {}


def test_longest_username_is_accepted(anonymous: httpx.Client) -> None:
    username = new_name().ljust(150, "x")

    answer = anonymous.post("/api/users/", json={"username": username, "password": "pw"})

    assert answer.status_code == 201
    assert answer.json()["username"] == username


def test_a_taken_username_is_refused(make_user: People, anonymous: httpx.Client) -> None:
    taken = make_user().username

    answer = anonymous.post("/api/users/", json={"username": taken, "password": "pw"})

    assert answer.status_code == 400
    assert "username" in answer.json()["errors"]


@pytest.mark.parametrize("body", [b"{nope", b"", b"[1, 2]", b'"text"', b"null", b"\xff\xfe"])
def test_registration_without_a_json_object_is_refused(
    anonymous: httpx.Client, body: bytes
) -> None:
    answer = anonymous.post(
        "/api/users/", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


def test_registration_in_another_format_is_refused(anonymous: httpx.Client) -> None:
    answer = anonymous.post("/api/users/", content=b"abc", headers={"Content-Type": "text/plain"})

    assert answer.status_code == 415
    assert isinstance(answer.json()["detail"], str)


def test_wrong_credentials_do_not_hinder_registration(anonymous: httpx.Client) -> None:
    answer = anonymous.post(
        "/api/users/",
        json={"username": new_name(), "password": "pw"},
        headers={"Authorization": f"Token {'0' * 40}"},
    )

    assert answer.status_code == 201


def test_the_list_holds_everyone(make_user: People) -> None:
    first, second = make_user(), make_user()

    listed = first.client.get("/api/users/").json()

    assert {first.id, second.id} <= {user["id"] for user in listed}
    assert all(set(user) == USER_FIELDS for user in listed)


def test_the_token_is_shown_only_at_the_own_id(make_user: People) -> None:
    me, other = make_user(), make_user()

    assert me.client.get(f"/api/users/{me.id}/").json()["token"] == me.token
    assert set(me.client.get("/api/users/myself/").json()) == USER_FIELDS
    assert set(me.client.get(f"/api/users/{other.id}/").json()) == USER_FIELDS
    assert all("token" not in user for user in me.client.get("/api/users/").json())


def test_myself_is_the_caller(make_user: People) -> None:
    me = make_user(actor=True, email="me@example.com", message_endpoint="http://me.example/hook")

    mine = me.client.get("/api/users/myself/").json()

    assert mine == {key: value for key, value in me.created.items() if key != "token"}


def test_address_and_endpoint_of_others_are_hidden(make_user: People) -> None:
    me = make_user()
    other = make_user(email="other@example.com", message_endpoint="http://other.example/hook")

    seen = me.client.get(f"/api/users/{other.id}/").json()
    listed = {user["id"]: user for user in me.client.get("/api/users/").json()}

    assert (seen["email"], seen["message_endpoint"]) == ("", "")
    assert listed[other.id] == seen


def test_an_actor_sees_the_endpoints_of_its_participants_but_not_they_its(
    make_federation: MakeFederation,
) -> None:
    federation = make_federation(started=False)
    actor, participant = federation.actor, federation.participants[0]

    seen_by_actor = actor.client.get(f"/api/users/{participant.id}/").json()
    seen_by_participant = participant.client.get(f"/api/users/{actor.id}/").json()
    listed_for_actor = {user["id"]: user for user in actor.client.get("/api/users/").json()}

    assert seen_by_actor["message_endpoint"] == participant.created["message_endpoint"]
    assert listed_for_actor[participant.id] == seen_by_actor
    assert seen_by_participant["message_endpoint"] == ""


@pytest.mark.parametrize("given", ["abc", "00000000-0000-0000-0000-000000000000", "1", "a" * 300])
def test_an_unknown_user_is_a_400(make_user: People, given: str) -> None:
    answer = make_user().client.get(f"/api/users/{given}/")

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"User {given} not found."


@pytest.mark.parametrize("spelling", [str.upper, lambda text: text.replace("-", "")])
def test_ids_are_accepted_in_every_spelling(
    make_user: People, spelling: Callable[[str], str]
) -> None:
    me = make_user()

    answer = me.client.get(f"/api/users/{spelling(me.id)}/")

    assert answer.status_code == 200
    assert answer.json()["id"] == me.id


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_users_cannot_be_changed_by_other_methods(make_user: People, method: str) -> None:
    answer = make_user().client.request(method, "/api/users/myself/")

    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert isinstance(answer.json()["detail"], str)
