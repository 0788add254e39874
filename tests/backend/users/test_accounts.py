"""`starling user` beside a running server, on both databases."""

import json
import secrets

import httpx
import pytest

from tests.accounts import new_superuser, printed, starling_user
from tests.federations import People
from tests.servers import Server


def new_name() -> str:
    return f"cli-{secrets.token_hex(4)}"


def status(server: Server, authorization: dict[str, str]) -> int:
    with server.client() as client:
        return client.get("/api/users/myself/", headers=authorization).status_code


def test_a_created_user_can_sign_in_with_the_printed_token(server: Server) -> None:
    username = new_name()

    token = printed(
        server,
        *("create", username, "--actor", "--client", "--email", "a@b.example", "--password-stdin"),
        stdin="secret word\n",
    )

    with server.client() as client:
        by_token = client.get("/api/users/myself/", headers={"Authorization": f"Token {token}"})
        by_password = client.get("/api/users/myself/", auth=(username, "secret word"))
    assert by_token.status_code == 200
    assert by_token.json() == by_password.json()
    mine = by_token.json()
    assert (mine["actor"], mine["client"], mine["email"]) == (True, True, "a@b.example")


def test_nobody_else_becomes_a_superuser(make_user: People, anonymous: httpx.Client) -> None:
    superuser, person = new_superuser(make_user), make_user()
    answer = anonymous.post(
        "/api/users/", json={"username": new_name(), "password": "pw", "is_superuser": True}
    )

    assert superuser.client.get("/api/groups/").status_code == 200
    assert person.client.get("/api/groups/").status_code == 403
    assert answer.status_code == 400


def test_a_rotated_token_replaces_the_old_one(server: Server, make_user: People) -> None:
    person = make_user()

    same = printed(server, "token", person.username)
    new = printed(server, "token", person.username, "--rotate")

    assert same == person.token
    assert new != same
    assert status(server, {"Authorization": f"Token {same}"}) == 401
    assert status(server, {"Authorization": f"Token {new}"}) == 200
    assert printed(server, "token", person.username) == new


def test_a_new_password_replaces_the_old_one_at_once(server: Server, make_user: People) -> None:
    person = make_user()
    assert status(server, person.basic()) == 200

    printed(server, "passwd", person.username, "--password-stdin", stdin="another\n")

    assert status(server, person.basic()) == 401
    with server.client() as client:
        answer = client.get("/api/users/myself/", auth=(person.username, "another"))
    assert answer.status_code == 200
    assert status(server, {"Authorization": f"Token {person.token}"}) == 200


def test_a_disabled_user_is_refused_until_enabled(server: Server, make_user: People) -> None:
    person = make_user()
    both = [person.basic(), {"Authorization": f"Token {person.token}"}]
    assert [status(server, one) for one in both] == [200, 200]

    printed(server, "disable", person.username)
    refused = [status(server, one) for one in both]
    printed(server, "enable", person.username)

    assert refused == [401, 401]
    assert [status(server, one) for one in both] == [200, 200]


def test_the_list_has_everyone_and_no_secrets(server: Server, make_user: People) -> None:
    person, root = make_user(actor=True), new_superuser(make_user)

    listed = printed(server, "list")
    as_json = {user["username"]: user for user in json.loads(printed(server, "list", "--json"))}

    assert f"{person.id}  {person.username}  actor" in listed.splitlines()
    assert f"{root.id}  {root.username}  superuser" in listed.splitlines()
    assert as_json[person.username]["actor"]
    assert person.token not in listed


@pytest.mark.parametrize(
    ("arguments", "stdin", "word"),
    [
        (("token", "nobody-at-all"), "", "nobody-at-all"),
        (("disable", "nobody-at-all"), "", "nobody-at-all"),
        (("create", "u" * 151, "--password-stdin"), "pw", "username"),
        (("create", "someone-new", "--password-stdin"), "", "password"),
        (("create", "someone-new", "--password", "pw"), "", "--password"),
        (("invite", "--expires-hours", "0"), "", "hours"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(
    server: Server, arguments: tuple[str, ...], stdin: str, word: str
) -> None:
    ended = starling_user(server, *arguments, stdin=stdin)

    assert ended.returncode > 0
    (line,) = ended.stderr.strip().splitlines()
    assert word in line


def test_a_taken_name_is_refused(server: Server, make_user: People) -> None:
    ended = starling_user(
        server, "create", make_user().username, "--password-stdin", stdin="password\n"
    )

    assert ended.returncode == 1
    assert "already exists" in ended.stderr
