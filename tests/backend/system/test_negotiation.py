"""What is answered before a handler is reached: credentials, methods, formats, origins."""

from collections.abc import Iterator

import httpx
import pytest

from tests.federations import People, Person
from tests.servers import RayCluster, Server

ORIGIN = "https://console.example"


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user()


@pytest.mark.parametrize("path", ["/api/users/", "/api/models/x/", "/api/groups/1/"])
def test_a_wrong_method_without_credentials_is_a_401(anonymous: httpx.Client, path: str) -> None:
    answer = anonymous.request("TRACE", path)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    assert "GET" in answer.headers["Allow"]
    assert answer.json()["detail"] == "Authentication credentials were not provided."


@pytest.mark.parametrize("path", ["/api/schema/", "/health/live"])
def test_a_wrong_method_where_nobody_needs_credentials_is_a_405(
    anonymous: httpx.Client, path: str
) -> None:
    assert anonymous.put(path).status_code == 405


def test_an_unknown_path_without_credentials_is_a_404(anonymous: httpx.Client) -> None:
    assert anonymous.put("/api/nope/").status_code == 404


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("application/*;q=0.5", 200),
        ("text/html, application/xhtml+xml, */*;q=0.8", 200),
        ("text/html, application/json;q=0.1", 200),
        ("application/xml", 406),
        ("text/html, image/*", 406),
        ("", 200),
    ],
)
def test_who_cannot_take_json_is_told(person: Person, accept: str, status: int) -> None:
    answer = person.client.get("/api/users/myself/", headers={"Accept": accept})

    assert answer.status_code == status
    if status == 406:
        assert answer.json()["detail"] == "Could not satisfy the request Accept header."


@pytest.mark.parametrize("accept", ["/", ";", ",", "a/b/c", ";q=x", "*", "\xff"])
def test_a_nonsensical_accept_header_harms_nobody(person: Person, accept: str) -> None:
    answer = person.client.get("/api/users/myself/", headers={"Accept": accept.encode("latin-1")})

    assert answer.status_code in {200, 406}


def test_a_refused_format_changes_nothing(person: Person) -> None:
    answer = person.client.post(
        "/api/groups/", json={"name": "never"}, headers={"Accept": "text/csv"}
    )

    assert answer.status_code == 406
    assert person.client.get("/api/users/groups/").json() == []


def test_format_json_in_the_query_is_enough(person: Person) -> None:
    answer = person.client.get(
        "/api/users/myself/", params={"format": "json"}, headers={"Accept": "application/xml"}
    )

    assert answer.status_code == 200
    assert answer.json()["id"] == person.id


def test_credentials_come_before_formats(anonymous: httpx.Client) -> None:
    answer = anonymous.get("/api/users/", headers={"Accept": "application/xml"})

    assert answer.status_code == 401


def test_by_default_no_other_origin_is_let_in(anonymous: httpx.Client) -> None:
    answer = anonymous.get("/api/users/", headers={"Origin": ORIGIN})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.fixture(scope="module")
def with_origin(
    ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    server = Server(
        tmp_path_factory.mktemp("cors") / "data",
        environment={
            **ray_cluster.environment(),
            "STARLING_CORS_ORIGINS": f"{ORIGIN}, http://other.example:3000",
        },
    )
    server.start().wait_until_answers("/health/live", 200)
    with server.client() as client:
        yield client
    server.stop()


def preflight(client: httpx.Client, origin: str, method: str = "PUT") -> httpx.Response:
    return client.options(
        "/api/trainings/",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )


@pytest.mark.parametrize("origin", [ORIGIN, "http://other.example:3000"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_page_of_an_allowed_origin_may_ask(
    with_origin: httpx.Client, origin: str, method: str
) -> None:
    answer = preflight(with_origin, origin, method)

    assert answer.is_success
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("origin", ["https://evil.example", f"{ORIGIN}.evil.example", "null"])
def test_a_page_of_another_origin_may_not(with_origin: httpx.Client, origin: str) -> None:
    asked = preflight(with_origin, origin)
    answer = with_origin.get("/api/users/", headers={"Origin": origin})

    assert "Access-Control-Allow-Origin" not in asked.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_refusals_can_be_read_by_the_page_too(with_origin: httpx.Client) -> None:
    answer = with_origin.get("/api/users/", headers={"Origin": ORIGIN})

    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Origin" in answer.headers["Vary"]
