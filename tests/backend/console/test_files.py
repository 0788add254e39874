"""The console's files as a server sends them."""

import gzip
import os
from pathlib import Path

import httpx
import pytest

from backend.console.controller import _accepts_gzip
from backend.console.files import STATIC_DIR, ConsoleFiles
from tests.federations import People, Person
from tests.servers import Server

STYLES = "/static/vendor/swagger-ui/swagger-ui.css"
PICTURE = "/static/vendor/swagger-ui/favicon-32x32.png"
GZIP = {"Accept-Encoding": "gzip, deflate, br"}
PLAIN = {"Accept-Encoding": "identity"}


def raw(client: httpx.Client, path: str, headers: dict[str, str]) -> tuple[httpx.Response, bytes]:
    """The answer and its body as it travelled."""
    with client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


def test_the_page_is_at_the_root_and_needs_no_credentials(anonymous: httpx.Client) -> None:
    answer = anonymous.get("/")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.content == (STATIC_DIR / "index.html").read_bytes()
    assert answer.headers["Cache-Control"] == "no-cache"


def test_the_page_may_load_from_nowhere_else_and_be_framed_by_nobody(
    anonymous: httpx.Client,
) -> None:
    headers = anonymous.get("/").headers

    policy = dict(
        directive.split(" ", 1) for directive in headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "font-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/", STYLES])
def test_text_travels_compressed_to_who_takes_it(anonymous: httpx.Client, path: str) -> None:
    packed, body = raw(anonymous, path, GZIP)
    plain, content = raw(anonymous, path, PLAIN)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(body) == content
    assert len(body) < len(content)
    assert int(packed.headers["Content-Length"]) == len(body)
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["ETag"] != plain.headers["ETag"]


def test_pictures_are_not_compressed_once_more(anonymous: httpx.Client) -> None:
    answer = anonymous.get(PICTURE, headers=GZIP)

    assert answer.headers["Content-Type"] == "image/png"
    assert "Content-Encoding" not in answer.headers
    assert "Vary" not in answer.headers


@pytest.mark.parametrize("path", ["/", STYLES, PICTURE])
@pytest.mark.parametrize("coding", [GZIP, PLAIN])
def test_what_the_browser_has_is_not_sent_again(
    anonymous: httpx.Client, path: str, coding: dict[str, str]
) -> None:
    first = anonymous.get(path, headers=coding)
    tag = first.headers["ETag"]
    assert tag.startswith('"')

    for condition in (tag, f'"other", W/{tag}', "*"):
        second, body = raw(anonymous, path, {**coding, "If-None-Match": condition})
        assert (second.status_code, body) == (304, b"")
        for name in ("ETag", "Cache-Control", "Vary"):
            assert second.headers.get(name) == first.headers.get(name)
    assert anonymous.get(path, headers={**coding, "If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize("path", ["/", STYLES, PICTURE])
def test_head_is_get_without_a_body(anonymous: httpx.Client, path: str) -> None:
    got, head = anonymous.get(path), anonymous.head(path)

    assert head.status_code == 200
    assert head.content == b""
    for name in ("ETag", "Content-Length", "Content-Type", "Cache-Control"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize(
    "path",
    [
        "/static",
        "/static/",
        "/static/nothing.js",
        "/static/vendor",
        "/static/vendor/",
        "/static/../backend/app.py",
        "/static/..%2fbackend/app.py",
        "/static/%2e%2e/backend/app.py",
        "/static/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/..%5cbackend%5capp.py",
        "/static/vendor/vendor.json%00",
        "/static/%ff",
        "/static/" + "a" * 5000,
    ],
)
def test_anything_else_is_a_404_in_json(server: Server, path: str) -> None:
    with server.client() as client:
        answer = client.get(httpx.URL(f"{server.url}/", raw_path=path.encode()))

    assert answer.status_code == 404, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert isinstance(answer.json()["detail"], str)


def test_other_methods_are_a_405(anonymous: httpx.Client) -> None:
    for path in ("/", STYLES):
        answer = anonymous.post(path)
        assert answer.status_code == 405
        assert "GET" in answer.headers["Allow"]


def test_no_answer_is_to_be_taken_for_another_type(
    anonymous: httpx.Client, make_user: People
) -> None:
    person: Person = make_user()
    answers = [
        anonymous.get("/"),
        anonymous.get(STYLES),
        anonymous.get("/nothing"),
        anonymous.get("/api/schema/swagger-ui/"),
        person.client.get("/api/users/myself/"),
        person.client.get("/api/trainings/x/"),
    ]

    assert {one.headers["X-Content-Type-Options"] for one in answers} == {"nosniff"}


def test_vendored_files_are_kept_by_the_browser(anonymous: httpx.Client) -> None:
    control = anonymous.get(STYLES).headers["Cache-Control"]

    assert control == "max-age=86400"


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.js", "text/javascript"),
        ("a.mjs", "text/javascript"),
        ("a.css", "text/css"),
        ("a.SVG", "image/svg+xml"),
        ("a.html", "text/html"),
        ("a.woff2", "font/woff2"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
async def test_the_type_is_that_of_the_suffix(tmp_path: Path, name: str, media_type: str) -> None:
    (tmp_path / name).write_text("x")

    found = await ConsoleFiles(tmp_path).find(name)

    assert found is not None
    assert found.media_type == media_type


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.js"
    path.write_text("before")
    files = ConsoleFiles(tmp_path)
    first = await files.find("a.js")
    assert first is await files.find("a.js")

    path.write_text("after!")
    os.utime(path, ns=(1, 1))
    second = await files.find("a.js")
    path.unlink()

    assert first is not None
    assert second is not None
    assert (first.content, second.content) == (b"before", b"after!")
    assert first.digest != second.digest
    assert await files.find("a.js") is None


async def test_links_and_hidden_files_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    root = tmp_path / "static"
    root.mkdir()
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    (root / ".hidden").write_text("hidden")
    files = ConsoleFiles(root)

    for path in ("link.txt", "folder/secret.txt", ".hidden", "../secret.txt", "", "folder"):
        assert await files.find(path) is None, path


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("*;q=0, gzip;q=1.0", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*, gzip;q=0", False),
        ("identity", False),
    ],
)
def test_gzip_goes_to_who_accepts_it(header: str, accepted: bool) -> None:
    assert _accepts_gzip(header) is accepted
