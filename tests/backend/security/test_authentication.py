import base64
from collections.abc import Callable

import httpx
import pytest

from tests.federations import People, Person
from tests.servers import Server

PROTECTED = "/api/users/myself/"


Header = Callable[[Person], str | None]


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user()


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(lambda p: f"Token {p.token}", id="token"),
        pytest.param(lambda p: f"token {p.token}", id="token-lower-case"),
        pytest.param(lambda p: f"TOKEN {p.token}", id="token-upper-case"),
        pytest.param(lambda p: basic(f"{p.username}:{p.password}"), id="basic"),
        pytest.param(
            lambda p: basic(f"{p.username}:{p.password}").replace("Basic", "basic"),
            id="basic-lower-case",
        ),
        pytest.param(lambda p: basic(f"{p.token}:"), id="token-as-user"),
    ],
)
def test_each_way_to_authenticate(person: Person, anonymous: httpx.Client, header: Header) -> None:
    answer = anonymous.get(PROTECTED, headers={"Authorization": str(header(person))})

    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == person.id


def test_a_password_may_hold_colons_and_umlauts(anonymous: httpx.Client, person: Person) -> None:
    username, password = f"{person.username}-ü", "a:b:ç"
    anonymous.post("/api/users/", json={"username": username, "password": password})

    answer = anonymous.get(PROTECTED, headers={"Authorization": basic(f"{username}:{password}")})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        pytest.param(lambda _: None, "Authentication credentials were not provided.", id="none"),
        pytest.param(
            lambda _: "", "Authentication credentials were not provided.", id="empty-header"
        ),
        pytest.param(
            lambda p: f"Bearer {p.token}",
            "Authentication credentials were not provided.",
            id="bearer",
        ),
        pytest.param(
            lambda p: basic(f"{p.username}:wrong"),
            "Invalid username/password.",
            id="wrong-password",
        ),
        pytest.param(
            lambda _: basic("nobody-at-all:pw"), "Invalid username/password.", id="unknown-user"
        ),
        # A user without a password is a token.
        pytest.param(lambda p: basic(f"{p.username}:"), "Invalid token.", id="empty-password"),
        pytest.param(
            lambda p: basic(f"{p.token}:{p.password}"),
            "Invalid username/password.",
            id="token-as-user-with-password",
        ),
        pytest.param(lambda _: basic(f"{'0' * 40}:"), "Invalid token.", id="wrong-token-as-user"),
        pytest.param(lambda _: f"Token {'0' * 40}", "Invalid token.", id="wrong-token"),
        pytest.param(lambda p: f"Token {p.token[:-1]}", "Invalid token.", id="short-token"),
        pytest.param(lambda _: "Token", "Invalid token header. ", id="token-without-token"),
        pytest.param(
            lambda p: f"Token {p.token} {p.token}",
            "Invalid token header. Token string should not contain spaces.",
            id="two-tokens",
        ),
        pytest.param(
            lambda _: "Basic",
            "Invalid basic header. No credentials provided.",
            id="basic-without-credentials",
        ),
        pytest.param(
            lambda _: "Basic %%%",
            "Invalid basic header. Credentials not correctly base64 encoded.",
            id="basic-not-base64",
        ),
        pytest.param(
            lambda _: basic("no-colon"),
            "Invalid basic header. Credentials not correctly base64 encoded.",
            id="basic-without-colon",
        ),
        pytest.param(lambda _: "Basic a b", "Invalid basic header. ", id="basic-with-spaces"),
    ],
)
def test_credentials_that_do_not_hold(
    person: Person, anonymous: httpx.Client, header: Header, detail: str
) -> None:
    value = header(person)

    answer = anonymous.get(PROTECTED, headers={} if value is None else {"Authorization": value})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.json()["detail"].startswith(detail)


def test_a_token_in_the_query_is_no_credential(person: Person, anonymous: httpx.Client) -> None:
    answer = anonymous.get(PROTECTED, params={"token": person.token})

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users/"),
        ("GET", "/api/users/{id}/"),
        ("GET", "/api/models/"),
        ("POST", "/api/models/"),
        ("GET", "/api/models/{id}/"),
        ("POST", "/api/models/{id}/"),
        ("GET", "/api/models/{id}/metadata/"),
        ("GET", "/api/models/{id}/metrics/"),
        ("POST", "/api/models/{id}/metrics/"),
        ("GET", "/api/trainings/"),
        ("POST", "/api/trainings/"),
        ("GET", "/api/trainings/{id}/"),
        ("DELETE", "/api/trainings/{id}/"),
        ("POST", "/api/trainings/{id}/start/"),
        ("PUT", "/api/trainings/{id}/clients/"),
        ("DELETE", "/api/trainings/{id}/clients/"),
    ],
)
def test_everything_else_wants_credentials(anonymous: httpx.Client, method: str, path: str) -> None:
    path = path.replace("{id}", "00000000-0000-0000-0000-000000000000")

    answer = anonymous.request(method, path)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert answer.json()["detail"] == "Authentication credentials were not provided."


def test_the_database_does_not_hold_the_token_or_the_password(
    person: Person, server: Server
) -> None:
    if server.database_url is not None:
        return
    stored = b"".join(path.read_bytes() for path in server.data_dir.glob("*.sqlite*"))

    assert person.username.encode() in stored
    assert person.password.encode() not in stored
    assert person.token.encode() not in stored
