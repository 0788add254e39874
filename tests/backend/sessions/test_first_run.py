"""The first superuser of a new server, on both databases."""

import asyncio
import re

import httpx
import pytest

from tests.accounts import printed
from tests.browsers import SESSION, is_signed_in
from tests.conftest import ServerMaker
from tests.servers import PostgreSQL, Server

SETUP = "/api/setup/"
LINE = re.compile(r"Open (\S+)/#/setup\?code=(\S+) to create the first superuser\.")
AT_ONCE = 20
ALLOWED_FAILURES = 10


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, new_server: ServerMaker) -> Server:
    """A server in whose database nobody is."""
    url = None
    if request.param == "postgresql":
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        url = postgresql.new_database()
    return new_server(database_url=url).start().wait_until_answers("/health/live", 200)


def setup_code(server: Server, start: int = 0) -> str:
    ((base_url, code),) = LINE.findall(server.log_text(start))
    assert base_url == server.url
    return str(code)


def order(code: str, **fields: str) -> dict[str, str]:
    return {"code": code, "username": "root", "password": "secret word", **fields}


def test_who_reads_the_log_becomes_the_first_superuser_and_nobody_the_second(
    fresh: Server,
) -> None:
    code = setup_code(fresh)
    with fresh.client() as client:
        before = client.get(SESSION).json()
        names = {"first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com"}
        made = client.post(SETUP, json=order(code, **names))
        after = client.get(SESSION).json()
        accounts = client.get("/api/accounts/").json()
        again = client.post(SETUP, json=order(code, username="second"))
    log_size = fresh.log_size()
    fresh.stop()
    fresh.start().wait_until_answers("/health/live", 200)
    with fresh.client() as client:
        restarted = client.get(SESSION).json()
        by_password = client.get("/api/groups/", auth=("root", "secret word"))

    assert (before["setup_needed"], before["user"]) == (True, None)
    assert made.status_code == 201, made.text
    assert made.json() == after
    assert (after["setup_needed"], after["superuser"]) == (False, True)
    assert after["user"].items() >= {"username": "root", **names}.items()
    assert [one["username"] for one in accounts] == ["root"]
    assert again.status_code == 409
    assert not restarted["setup_needed"]
    assert not LINE.findall(fresh.log_text(log_size))
    assert by_password.status_code == 200


def test_a_wrong_code_makes_nobody(fresh: Server) -> None:
    code = setup_code(fresh)
    with fresh.client() as client:
        for wrong in ("nonsense", code[:-1], code + "x", code.swapcase(), "é"):
            answer = client.post(SETUP, json=order(wrong))
            assert answer.status_code == 403
            assert "code" in answer.json()["detail"]
            assert "Set-Cookie" not in answer.headers
        assert client.get(SESSION).json()["setup_needed"]
        assert client.get("/api/users/", auth=("root", "secret word")).status_code == 401
        assert client.post(SETUP, json=order(code)).status_code == 201


def test_codes_cannot_be_tried_without_end(new_server: ServerMaker) -> None:
    server = new_server({"STARLING_TRUSTED_PROXIES": "127.0.0.1"}).start()
    server.wait_until_answers("/health/live", 200)
    with server.client() as client:

        def tried(code: str, address: str) -> httpx.Response:
            return client.post(SETUP, json=order(code), headers={"X-Forwarded-For": address})

        statuses = [tried("wrong", "203.0.113.1").status_code for _ in range(ALLOWED_FAILURES)]
        limited = tried(setup_code(server), "203.0.113.1")
        elsewhere = tried(setup_code(server), "203.0.113.2")

    assert statuses == [403] * ALLOWED_FAILURES
    assert limited.status_code == 429
    assert int(limited.headers["Retry-After"]) > 0
    assert elsewhere.status_code == 201


def test_a_mistake_does_not_use_the_code_up(new_server: ServerMaker) -> None:
    server = new_server().start().wait_until_answers("/health/live", 200)
    printed(server, "create", "taken", "--password-stdin", stdin="pw\n")
    code = setup_code(server)
    mistakes = [
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
        ({"email": "a\0b"}, "email"),
        ({"superuser": "true"}, "superuser"),
        ({"username": "taken"}, "username"),
    ]
    with server.client() as client:
        refused = [client.post(SETUP, json=order(code, **fields)) for fields, _ in mistakes]
        accepted = client.post(SETUP, json=order(code))

    assert [one.status_code for one in refused] == [400] * len(mistakes)
    assert [list(one.json()["errors"]) for one in refused] == [[field] for _, field in mistakes]
    assert accepted.status_code == 201


def test_a_superuser_of_the_command_line_is_the_first_too(fresh: Server) -> None:
    with fresh.client() as client:
        assert client.get(SESSION).json()["setup_needed"]

        printed(fresh, "create", "operator", "--superuser", "--password-stdin", stdin="pw\n")

        assert not client.get(SESSION).json()["setup_needed"]
        assert client.post(SETUP, json=order(setup_code(fresh))).status_code == 409


def test_each_start_has_a_code_of_its_own(new_server: ServerMaker) -> None:
    server = new_server().start().wait_until_answers("/health/live", 200)
    first, size = setup_code(server), server.log_size()
    server.stop()
    server.start().wait_until_answers("/health/live", 200)
    second = setup_code(server, size)
    with server.client() as client:
        with_old = client.post(SETUP, json=order(first))
        with_new = client.post(SETUP, json=order(second))

    assert first != second
    assert (with_old.status_code, with_new.status_code) == (403, 201)


async def test_of_many_at_once_exactly_one_becomes_the_first(fresh: Server) -> None:
    code = setup_code(fresh)
    async with httpx.AsyncClient(base_url=fresh.url, timeout=60) as client:
        answers = await asyncio.gather(
            *(
                client.post(SETUP, json=order(code, username=f"root-{number}"))
                for number in range(AT_ONCE)
            )
        )
    (won,) = [one for one in answers if one.status_code == 201]
    lost = [one for one in answers if one is not won]
    with fresh.client() as client:
        client.cookies.update(won.cookies)
        accounts = client.get("/api/accounts/").json()

        assert is_signed_in(client)
    assert {one.status_code for one in lost} == {409}
    assert [one["username"] for one in accounts] == [won.json()["user"]["username"]]
