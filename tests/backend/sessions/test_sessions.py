"""Signing in from a browser, on both databases."""

import hashlib
import secrets
from http.cookies import Morsel, SimpleCookie
from importlib.metadata import version

import httpx
import pytest

from tests.accounts import another_superuser, new_superuser, printed
from tests.browsers import SESSION, browser, is_signed_in, sign_in
from tests.conftest import ServerMaker
from tests.federations import People, Person, accepted_model
from tests.servers import Server

MYSELF = "/api/users/myself/"


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user(email="p@example.com")


def cookie_of(answer: httpx.Response) -> "Morsel[str]":
    (header,) = answer.headers.get_list("Set-Cookie")
    (morsel,) = SimpleCookie(header).values()
    return morsel


def test_nobody_is_signed_in_at_first(anonymous: httpx.Client, make_user: People) -> None:
    another_superuser(make_user)

    answer = anonymous.get(SESSION)

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {
        "user": None,
        "superuser": False,
        "csrf_token": None,
        "setup_needed": False,
        "registration": "open",
        "version": version("starling-fl"),
    }


def test_who_signs_in_is_who_the_cookie_stands_for(server: Server, person: Person) -> None:
    with browser(server) as client:
        begun = sign_in(client, person.username, person.password)
        mine = client.get(MYSELF)
        again = client.get(SESSION)

    assert mine.json()["id"] == person.id
    assert begun.json() == again.json()
    assert begun.json()["user"] == mine.json()
    assert begun.json()["user"]["email"] == "p@example.com"
    assert "token" not in begun.json()["user"]
    assert not begun.json()["superuser"]


def test_a_superuser_is_told_so(server: Server, make_user: People) -> None:
    with browser(server, another_superuser(make_user)) as client:
        assert client.get(SESSION).json()["superuser"]
        assert client.get("/api/groups/").status_code == 200


def test_no_script_and_no_other_site_gets_the_cookie(server: Server, person: Person) -> None:
    with browser(server) as client:
        cookie = cookie_of(sign_in(client, person.username, person.password))

    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "strict"
    assert cookie["path"] == "/"
    assert not cookie["domain"]
    assert not cookie["secure"]
    # 256 bits in base64, and another one each time.
    assert len(cookie.value) >= 43


def test_behind_https_the_cookie_stays_there(new_server: ServerMaker) -> None:
    server = new_server({"STARLING_PUBLIC_URL": "https://fl.example"}).start()
    server.wait_until_answers("/health/live", 200)
    people = People(server)
    person = people()
    wanted = {"username": person.username, "password": person.password}
    with server.client() as client:
        begun = cookie_of(client.post(SESSION, json=wanted))
        client.cookies.clear()  # or httpx, rightly, would not send it without TLS
        held = {"Cookie": f"{begun.key}={begun.value}"}
        session = client.get(SESSION, headers=held).json()
        ended = cookie_of(
            client.delete(SESSION, headers={**held, "X-CSRF-Token": session["csrf_token"]})
        )
    people.close()

    assert begun.key == ended.key
    # Browsers take `__Host-` cookies with these attributes only, also when one is to go.
    assert begun.key.startswith("__Host-")
    for cookie in (begun, ended):
        assert cookie["secure"]
        assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert session["user"]["id"] == person.id
    assert ended["max-age"] == "0"


def test_a_proxy_that_says_https_makes_the_cookie_secure(new_server: ServerMaker) -> None:
    server = new_server({"STARLING_TRUSTED_PROXIES": "127.0.0.1"}).start()
    server.wait_until_answers("/health/live", 200)
    people = People(server)
    person = people()
    wanted = {"username": person.username, "password": person.password}
    with server.client() as client:
        answer = client.post(SESSION, json=wanted, headers={"X-Forwarded-Proto": "https"})
    people.close()

    assert cookie_of(answer)["secure"]


def test_servers_on_one_host_do_not_share_a_cookie(server: Server, person: Person) -> None:
    with browser(server) as client:
        cookie = cookie_of(sign_in(client, person.username, person.password))

    assert cookie.key.endswith(f"-{server.port}")


def test_the_database_does_not_hold_the_secret(server: Server, person: Person) -> None:
    with browser(server) as client:
        cookie = cookie_of(sign_in(client, person.username, person.password))
    if server.database_url is not None:
        return
    stored = b"".join(path.read_bytes() for path in server.data_dir.glob("*.sqlite*"))

    assert cookie.value.encode() not in stored
    assert hashlib.sha256(cookie.value.encode()).hexdigest().encode() in stored


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"password": "wrong"}, 401),
        ({"username": "nobody-of-this-name"}, 401),
        ({"password": ""}, 400),
        ({"username": "a\0b"}, 400),
        ({"remember": True}, 400),
    ],
)
def test_who_is_wrong_is_not_signed_in(
    server: Server, person: Person, fields: dict[str, object], status: int
) -> None:
    wanted = {"username": person.username, "password": person.password, **fields}
    with server.client() as client:
        answer = client.post(SESSION, json=wanted)

    assert answer.status_code == status
    assert "Set-Cookie" not in answer.headers
    if status == 401:
        assert answer.json()["detail"] == "Invalid username/password."
        assert answer.headers["WWW-Authenticate"] == "Token"
    else:
        assert list(answer.json()["errors"]) == list(fields)


def test_guessing_is_limited_as_everywhere(server: Server, person: Person) -> None:
    wrong = {"username": person.username, "password": "wrong"}
    with server.client() as client:
        statuses = [client.post(SESSION, json=wrong).status_code for _ in range(10)]
        answer = client.post(SESSION, json={**wrong, "password": person.password})
        basic = client.get(MYSELF, headers=person.basic())

    assert statuses == [401] * 10
    assert (answer.status_code, basic.status_code) == (429, 429)
    assert int(answer.headers["Retry-After"]) > 0


def test_a_header_counts_more_than_the_cookie(
    server: Server, person: Person, make_user: People
) -> None:
    other = make_user()
    with browser(server, person) as client:
        by_header = client.get(MYSELF, headers={"Authorization": f"Token {other.token}"})
        wrong_header = client.get(MYSELF, headers={"Authorization": f"Token {'0' * 40}"})

    assert by_header.json()["id"] == other.id
    assert wrong_header.status_code == 401


@pytest.mark.parametrize("cookie", ["", "nonsense", "a" * 4000, "%00", '"\\777"', "é"])
def test_a_cookie_that_never_was_one_is_nobody(server: Server, person: Person, cookie: str) -> None:
    name = f"starling-session-{server.port}"
    headers = {"Cookie": f"{name}={cookie}".encode("latin-1")}
    with server.client() as client:
        session = client.get(SESSION, headers=headers)
        refused = client.get(MYSELF, headers=headers)
        registered = client.post(
            "/api/users/",
            json={"username": f"u-{secrets.token_hex(4)}", "password": "pw"},
            headers=headers,
        )

    assert session.status_code == 200
    assert session.json()["user"] is None
    assert refused.status_code == 401
    assert registered.status_code == 201


def test_signing_in_again_ends_the_session_before(server: Server, person: Person) -> None:
    with browser(server, person) as client, browser(server) as thief:
        thief.cookies.update(client.cookies)
        assert is_signed_in(thief)

        sign_in(client, person.username, person.password)

        assert is_signed_in(client)
        assert not is_signed_in(thief)


def test_two_browsers_of_one_person_do_not_hinder_each_other(
    server: Server, person: Person
) -> None:
    with browser(server, person) as one, browser(server, person) as other:
        assert one.delete(SESSION).status_code == 204
        assert not is_signed_in(one)
        assert is_signed_in(other)


def test_signing_out_ends_the_session_at_the_server(server: Server, person: Person) -> None:
    with browser(server, person) as client, browser(server) as thief:
        thief.cookies.update(client.cookies)

        answer = client.delete(SESSION)

        assert answer.status_code == 204
        assert cookie_of(answer)["max-age"] == "0"
        assert not client.cookies
        assert not is_signed_in(thief)
        assert thief.get(SESSION).json()["user"] is None
        refused = thief.get(MYSELF)
        assert refused.json()["detail"] == "Your session is over. Sign in again."


def test_who_is_signed_out_may_sign_out(anonymous: httpx.Client) -> None:
    assert anonymous.delete(SESSION).status_code == 204


def test_a_disabled_user_is_out_at_once_and_stays_out(server: Server, person: Person) -> None:
    with browser(server, person) as client:
        printed(server, "disable", person.username)
        refused = client.get(MYSELF)
        shown = client.get(SESSION)
        again = client.post(
            SESSION, json={"username": person.username, "password": person.password}
        )
        printed(server, "enable", person.username)

        assert refused.status_code == 401
        assert shown.json()["user"] is None
        assert again.status_code == 401
        assert not is_signed_in(client)


def test_a_password_from_the_command_line_ends_the_sessions(server: Server, person: Person) -> None:
    with browser(server, person) as client:
        printed(server, "passwd", person.username, "--password-stdin", stdin="another\n")

        assert not is_signed_in(client)
        sign_in(client, person.username, "another")
        assert is_signed_in(client)


def test_a_session_outlives_the_server(new_server: ServerMaker) -> None:
    server = new_server().start().wait_until_answers("/health/live", 200)
    people = People(server)
    with browser(server, people()) as client:
        server.stop()
        server.start().wait_until_answers("/health/live", 200)

        assert is_signed_in(client)
    people.close()


def test_a_stream_of_notifications_takes_the_cookie(server: Server, person: Person) -> None:
    with (
        browser(server, person) as client,
        client.stream(
            "GET", f"{MYSELF}notifications/", headers={"Accept": "text/event-stream"}
        ) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert next(answer.iter_lines()) is not None


def test_a_cookie_does_what_a_token_does(server: Server, person: Person) -> None:
    with browser(server, person) as client:
        as_person = Person(
            person.id, person.username, person.password, person.token, person.created, client
        )
        model_id = accepted_model(as_person)
        assert client.get(f"/api/models/{model_id}/").status_code == 200
        assert client.delete(f"/api/models/{model_id}/").status_code == 200


CHANGES = [
    ("POST", "/api/groups/", {"name": "made-by-another-site"}),
    ("PATCH", f"{MYSELF}profile/", {"first_name": "Mallory"}),
    ("PUT", "/api/groups/1/", {"name": "x"}),
    ("DELETE", "/api/groups/1/", None),
    ("DELETE", SESSION, None),
    ("POST", "/api/uploads/", None),
    ("POST", f"{MYSELF}token/", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize("token", [None, "", "0" * 64, "é"])
def test_no_change_without_the_pages_token(
    server: Server,
    person: Person,
    method: str,
    path: str,
    body: dict[str, str] | None,
    token: str | None,
) -> None:
    with browser(server, person) as client:
        del client.headers["X-CSRF-Token"]
        headers = {} if token is None else {"X-CSRF-Token": token.encode()}
        answer = client.request(method, path, json=body, headers=headers)  # type: ignore[arg-type]

        assert answer.status_code == 403, answer.text
        assert "X-CSRF-Token" in answer.json()["detail"]
        assert is_signed_in(client)
        assert client.get(MYSELF).json()["first_name"] == ""


def test_the_token_of_another_session_is_none(
    server: Server, person: Person, make_user: People
) -> None:
    with browser(server, person) as client, browser(server, make_user()) as other:
        answer = client.post(
            "/api/groups/",
            json={"name": secrets.token_hex(4)},
            headers={"X-CSRF-Token": other.headers["X-CSRF-Token"]},
        )

    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_no_change_for_another_site_even_with_the_token(
    server: Server, person: Person, method: str, path: str, body: dict[str, str] | None
) -> None:
    with browser(server, person) as client:
        answer = client.request(method, path, json=body, headers={"Sec-Fetch-Site": "cross-site"})

        assert answer.status_code == 403, answer.text
        assert "another site" in answer.json()["detail"]
        assert is_signed_in(client)


@pytest.mark.parametrize("site", ["same-origin", "none", "same-site"])
def test_our_own_pages_may_change_things(server: Server, person: Person, site: str) -> None:
    with browser(server, person) as client:
        answer = client.post(
            "/api/groups/",
            json={"name": secrets.token_hex(8)},
            headers={"Sec-Fetch-Site": site},
        )

    assert answer.status_code == 201


def test_clients_with_a_header_need_no_token(person: Person) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        answer = person.client.post(
            "/api/groups/", json={"name": secrets.token_hex(8)}, headers=headers
        )
        assert answer.status_code == 201


@pytest.mark.parametrize("path", [SESSION, "/api/setup/"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({}, 415),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_another_site_cannot_sign_anybody_in(
    anonymous: httpx.Client, person: Person, path: str, headers: dict[str, str], status: int
) -> None:
    body = f'{{"username": "{person.username}", "password": "{person.password}"}}'

    answer = anonymous.post(path, content=body.encode(), headers=headers)

    assert answer.status_code == status, answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_wrong_method_is_a_405_for_who_has_a_cookie(server: Server, person: Person) -> None:
    with browser(server, person) as client:
        assert client.delete("/api/users/").status_code == 405


def test_a_session_registers_others_where_it_is_closed(new_server: ServerMaker) -> None:
    server = new_server({"STARLING_REGISTRATION": "closed"}).start()
    server.wait_until_answers("/health/live", 200)
    people = People(server)
    superuser = new_superuser(people)
    with browser(server, superuser) as client:
        wanted = {"username": "new", "password": "pw"}
        created = client.post("/api/users/", json=wanted)
        del client.headers["X-CSRF-Token"]
        forged = client.post("/api/users/", json={**wanted, "username": "forged"})
        registration = client.get(SESSION).json()["registration"]
    people.close()

    assert created.status_code == 201
    assert forged.status_code == 403
    assert registration == "closed"
