import asyncio
import secrets
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import TooManyAttempts
from backend.security.login_limits import (
    PER_ADDRESS,
    PER_USER_AND_ADDRESS,
    LoginLimits,
    network_of,
)
from tests.federations import People, Person
from tests.servers import RayCluster, Server

PROTECTED = "/api/users/myself/"
ALLOWED_FAILURES = PER_USER_AND_ADDRESS.amount


@pytest.fixture(scope="module")
def behind_a_proxy(
    ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that believes in X-Forwarded-For, so that one machine can be many."""
    server = Server(
        tmp_path_factory.mktemp("proxied") / "data",
        environment={**ray_cluster.environment(), "STARLING_TRUSTED_PROXIES": "127.0.0.1"},
    )
    server.start().wait_until_answers("/health/live", 200)
    yield server
    server.stop()


@pytest.fixture
def person(behind_a_proxy: Server) -> Iterator[Person]:
    people = People(behind_a_proxy)
    yield people()
    people.close()


def new_address() -> str:
    return ".".join(["203", *(str(secrets.randbelow(250) + 1) for _ in range(3))])


def login(server: Server, person: Person, password: str, address: str) -> httpx.Response:
    with server.client() as client:
        return client.get(
            PROTECTED, auth=(person.username, password), headers={"X-Forwarded-For": address}
        )


def fail(server: Server, person: Person, address: str, times: int = ALLOWED_FAILURES) -> None:
    for _ in range(times):
        assert login(server, person, "wrong", address).status_code == 401


def test_too_many_failures_are_a_429_that_says_when_to_come_back(
    behind_a_proxy: Server, person: Person
) -> None:
    address = new_address()
    fail(behind_a_proxy, person, address)

    wrong = login(behind_a_proxy, person, "wrong", address)
    right = login(behind_a_proxy, person, person.password, address)

    assert (wrong.status_code, right.status_code) == (429, 429)
    assert 1 <= int(wrong.headers["Retry-After"]) <= PER_USER_AND_ADDRESS.get_expiry()
    assert wrong.headers["Retry-After"] in wrong.json()["detail"]


def test_nobody_else_is_hurt(behind_a_proxy: Server, person: Person) -> None:
    address = new_address()
    people = People(behind_a_proxy)
    neighbour = people()
    fail(behind_a_proxy, person, address)

    elsewhere = login(behind_a_proxy, person, person.password, new_address())
    same_address = login(behind_a_proxy, neighbour, neighbour.password, address)
    by_token = person.client.get(PROTECTED, headers={"X-Forwarded-For": address})

    assert [one.status_code for one in (elsewhere, same_address, by_token)] == [200, 200, 200]
    people.close()


def test_a_success_forgets_the_failures(behind_a_proxy: Server, person: Person) -> None:
    address = new_address()
    for _ in range(2):
        fail(behind_a_proxy, person, address, ALLOWED_FAILURES - 1)
        assert login(behind_a_proxy, person, person.password, address).status_code == 200

    assert login(behind_a_proxy, person, "wrong", address).status_code == 401


async def at_once(server: Server, person: Person, password: str, times: int) -> list[int]:
    address = new_address()
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        answers = await asyncio.gather(
            *(
                client.get(
                    PROTECTED,
                    auth=(person.username, password),
                    headers={"X-Forwarded-For": address},
                )
                for _ in range(times)
            )
        )
    return [answer.status_code for answer in answers]


async def test_a_burst_of_guesses_is_no_way_around(behind_a_proxy: Server, person: Person) -> None:
    statuses = await at_once(behind_a_proxy, person, "wrong", 3 * ALLOWED_FAILURES)

    assert statuses.count(401) == ALLOWED_FAILURES
    assert statuses.count(429) == 2 * ALLOWED_FAILURES


async def test_a_burst_of_right_logins_is_fine(behind_a_proxy: Server, person: Person) -> None:
    statuses = await at_once(behind_a_proxy, person, person.password, 3 * ALLOWED_FAILURES)

    assert set(statuses) == {200}


def test_a_forwarded_address_is_not_believed_by_itself(server: Server, make_user: People) -> None:
    person = make_user()
    for _ in range(ALLOWED_FAILURES):
        assert login(server, person, "wrong", new_address()).status_code == 401

    assert login(server, person, "wrong", new_address()).status_code == 429


async def test_an_address_that_tries_many_names_is_stopped() -> None:
    limits = LoginLimits()
    for number in range(PER_ADDRESS.amount):
        await limits.require_open(f"user-{number}", "203.0.113.1")
        await limits.failed(f"user-{number}", "203.0.113.1")

    with pytest.raises(TooManyAttempts):
        await limits.require_open("another", "203.0.113.1")
    await limits.succeeded("another", "203.0.113.1")
    with pytest.raises(TooManyAttempts):
        await limits.require_open("another", "203.0.113.1")
    await limits.require_open("another", "203.0.113.2")


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_an_ipv6_network_counts_as_one_address(address: object, low: int) -> None:
    number = int(address) >> 64 << 64  # type: ignore[call-overload]
    neighbour = type(address)(number | low)  # type: ignore[call-arg]

    if number:
        assert network_of(str(address)) == network_of(str(neighbour))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_what_failures_are_counted_under(address: str, network: str) -> None:
    assert network_of(address) == network
