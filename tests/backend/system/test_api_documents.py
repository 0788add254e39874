import re
from html.parser import HTMLParser

import httpx
import pytest
import yaml

PATHS = {
    "/api/users": {"get", "post"},
    "/api/users/myself": {"get"},
    "/api/users/trainings": {"get"},
    "/api/users/{user_id}": {"get"},
    "/api/models": {"get", "post"},
    "/api/models/{model_id}": {"get", "post"},
    "/api/models/{model_id}/metadata": {"get"},
    "/api/models/{model_id}/metrics": {"get", "post"},
    "/api/trainings": {"get", "post"},
    "/api/trainings/{training_id}": {"get", "delete"},
    "/api/trainings/{training_id}/clients": {"put", "delete"},
    "/api/trainings/{training_id}/start": {"post"},
}


def documents(anonymous: httpx.Client) -> list[httpx.Response]:
    return [
        anonymous.get("/api/schema/"),
        anonymous.get("/api/schema/", params={"format": "json"}),
        anonymous.get("/api/schema/", headers={"Accept": "application/json"}),
        anonymous.get("/api/schema"),
    ]


def test_the_document_is_yaml_unless_json_is_asked_for(anonymous: httpx.Client) -> None:
    as_yaml, by_query, by_header, without_slash = documents(anonymous)

    assert as_yaml.status_code == 200
    assert "json" not in as_yaml.headers["Content-Type"]
    assert "json" in by_query.headers["Content-Type"]
    assert "json" in by_header.headers["Content-Type"]
    assert by_query.json() == by_header.json() == yaml.safe_load(as_yaml.text)
    assert yaml.safe_load(without_slash.text) == by_query.json()


def test_the_document_describes_every_endpoint(anonymous: httpx.Client) -> None:
    document = anonymous.get("/api/schema/", params={"format": "json"}).json()
    described = {
        re.sub(r"/$", "", path): set(operations) for path, operations in document["paths"].items()
    }

    assert document["openapi"].startswith("3.1")
    for path, methods in PATHS.items():
        assert described[path] >= methods, path


class References(HTMLParser):
    """Every address that a browser would load for a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loads = {"script": "src", "link": "href", "img": "src", "redoc": "spec-url"}
        self.found.extend(value for name, value in attrs if value and loads.get(tag) == name)


@pytest.mark.parametrize("page", ["swagger-ui", "redoc"])
def test_the_pages_load_nothing_from_elsewhere(anonymous: httpx.Client, page: str) -> None:
    answer = anonymous.get(f"/api/schema/{page}/")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert re.findall(r"""(?:https?:)?//[\w.-]+\.\w+""", answer.text) == []
    references = [one for one in References(answer.text).found if not one.startswith("data:")]
    assert references
    for reference in references:
        assert anonymous.get(str(answer.url.join(reference))).status_code == 200, reference
