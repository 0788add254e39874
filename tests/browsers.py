"""A browser as far as signing in goes: it keeps cookies and sends the session's CSRF token."""

import contextlib
from collections.abc import Iterator

import httpx

from tests.federations import Person
from tests.servers import Server

SESSION = "/api/session/"


@contextlib.contextmanager
def browser(server: Server, person: Person | None = None) -> Iterator[httpx.Client]:
    """A client without an `Authorization` header, in which `person` is signed in with a cookie."""
    with server.client() as client:
        if person is not None:
            sign_in(client, person.username, person.password)
        yield client


def sign_in(client: httpx.Client, username: str, password: str) -> httpx.Response:
    """The successful answer to signing in; from now on the client sends the CSRF token."""
    answer = client.post(SESSION, json={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
    return answer


def is_signed_in(client: httpx.Client) -> bool:
    """Whether the server lets the client's cookie in."""
    return client.get("/api/users/myself/").status_code == 200
