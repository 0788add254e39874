import httpx
import pytest

from tests.federations import People, Person, accepted_model
from tests.servers import Server


@pytest.fixture
def person(make_user: People) -> Person:
    return make_user()


@pytest.mark.parametrize("path", ["/api/nope/", "/api/nope", "/nope", "/api/users/a/b/c/"])
def test_an_unknown_path_is_a_404_in_json(person: Person, path: str) -> None:
    answer = person.client.get(path)

    assert answer.status_code == 404
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/users/", {"GET", "POST"}),
        ("PUT", "/api/users/myself/", {"GET"}),
        ("DELETE", "/api/users/{id}/", {"GET"}),
        ("PUT", "/api/models/", {"GET", "POST"}),
        ("PUT", "/api/models/{id}/", {"GET", "POST"}),
        ("PUT", "/api/trainings/{id}/", {"GET", "DELETE"}),
        ("GET", "/api/trainings/{id}/start/", {"POST"}),
        ("GET", "/api/trainings/{id}/clients/", {"PUT", "DELETE"}),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    person: Person, method: str, path: str, allowed: set[str]
) -> None:
    answer = person.client.request(method, path.replace("{id}", person.id))

    assert answer.status_code == 405
    assert isinstance(answer.json()["detail"], str)
    assert {one.strip() for one in answer.headers["Allow"].split(",")} >= allowed


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/users", 200),
        ("GET", "/api/users/myself", 200),
        ("GET", "/api/users/{id}", 200),
        ("GET", "/api/users/trainings", 200),
        ("GET", "/api/models", 200),
        ("GET", "/api/trainings", 200),
        ("POST", "/api/users", 400),
        ("POST", "/api/trainings", 400),
        ("POST", "/api/models", 400),
        ("GET", "/api/trainings/{id}", 400),
        ("DELETE", "/api/trainings/{id}", 400),
        ("POST", "/api/trainings/{id}/start", 400),
    ],
)
def test_a_path_works_without_its_slash(
    person: Person, method: str, path: str, status: int
) -> None:
    path = path.replace("{id}", person.id)

    bare = person.client.request(method, path, json={} if method == "POST" else None)
    whole = person.client.request(method, f"{path}/", json={} if method == "POST" else None)

    assert bare.status_code == whole.status_code == status
    assert bare.json() == whole.json()


def test_head_answers_like_get_without_a_body(person: Person) -> None:
    answer = person.client.head("/api/users/myself/")

    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/users/", b'{"username": "\\u0000", "password": "pw"}'),
        ("/api/users/", b'{"username": "\\ud800", "password": "pw"}'),
        ("/api/users/", b'{"username": "' + b"[" * 100_000 + b'"}'),
        ("/api/users/", b"[" * 100_000),
        ("/api/users/", b'{"username": 1e999, "password": NaN}'),
    ],
)
def test_hostile_json_is_a_400(server: Server, path: str, body: bytes) -> None:
    with server.client() as client:
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("text", ["%00", "%2e%2e%2f", "%ff%fe", "'; drop table user; --"])
def test_hostile_ids_are_a_4xx(person: Person, text: str) -> None:
    for noun in ("users", "models", "trainings"):
        url = httpx.URL(f"/api/{noun}/x/", raw_path=f"/api/{noun}/{text}/".encode())
        answer = person.client.get(url)
        assert 400 <= answer.status_code < 500, answer.text
        assert isinstance(answer.json()["detail"], str)


def test_the_fields_of_a_form_may_not_fill_the_memory(person: Person) -> None:
    large = "x" * 6_000_000
    answer = person.client.post(
        "/api/models/",
        data={"name": large, "description": large, "type": large},
        files={"model_file": ("model.pt", b"never looked at")},
    )

    assert answer.status_code == 413
    assert "large" in answer.json()["detail"]


def test_a_list_may_not_be_longer_than_the_database_takes(person: Person) -> None:
    clients = ["00000000-0000-0000-0000-000000000000"] * 5_001
    answer = person.client.put(f"/api/trainings/{person.id}/clients/", json={"clients": clients})

    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["clients"]


def test_three_thousand_metrics_at_once_are_kept(person: Person) -> None:
    model_id = accepted_model(person)
    names = [f"m{number}" for number in range(3_000)]
    answer = person.client.post(
        f"/api/models/{model_id}/metrics/",
        json={"metric_names": names, "metric_values": [0.5] * len(names)},
    )
    assert answer.status_code == 201, answer.text
    kept = person.client.get(f"/api/models/{model_id}/metrics/").json()
    assert [metric["key"] for metric in kept] == names
