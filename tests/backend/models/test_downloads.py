"""Downloads in parts and on condition, with RFC 9110 as the judge."""

import base64
import hashlib
import itertools
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.entity_tags import names_tag
from backend.errors import RangeNotSatisfiable
from backend.models.downloads import requested_range
from tests.federations import People, Person, accepted_model
from tests.model_files import tiny_file
from tests.servers import Server

SIZES = st.integers(min_value=0, max_value=40)
OFFSETS = st.integers(min_value=0, max_value=50)


@settings(deadline=None)  # machines are shared: how long an example takes says nothing
@given(size=SIZES, first=OFFSETS, last=st.none() | OFFSETS)
def test_a_range_has_the_bytes_that_it_names(size: int, first: int, last: int | None) -> None:
    named = [k for k in range(size) if k >= first and (last is None or k <= last)]
    header = f"bytes={first}-{'' if last is None else last}"

    if last is not None and last < first:
        assert requested_range(header, size) is None  # malformed, so ignored
    elif not named:
        with pytest.raises(RangeNotSatisfiable):
            requested_range(header, size)
    else:
        assert requested_range(header, size) == (named[0], named[-1] + 1)


@settings(deadline=None)
@given(size=SIZES, length=OFFSETS)
def test_a_suffix_range_has_the_last_bytes(size: int, length: int) -> None:
    named = list(range(size))[-length:] if length else []

    if not named:
        with pytest.raises(RangeNotSatisfiable):
            requested_range(f"bytes=-{length}", size)
    else:
        assert requested_range(f"bytes=-{length}", size) == (named[0], size)


@settings(deadline=None)
@given(header=st.text() | st.from_regex(r"\s*[a-zB]{0,6}\s*=?[-0-9, ]{0,30}\s*", fullmatch=True))
def test_any_header_gives_a_part_of_the_file_or_all_of_it(header: str) -> None:
    try:
        part = requested_range(header, 10)
    except RangeNotSatisfiable:
        return
    assert part is None or 0 <= part.start < part.end <= 10


@pytest.mark.parametrize(
    "header",
    ["bytes=0-1,3-4", "bytes=-", "bytes=a-b", "bytes=5-2", "lines=0-1", "0-1", "bytes=0-1;", ""],
)
def test_several_parts_other_units_and_nonsense_are_ignored(header: str) -> None:
    assert requested_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "is_named"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ('"b","a" ,"c"', True),
        ("*", True),
        ('"b"', False),
        ('"xa", "a b"', False),
        ("a", False),
        (None, False),
    ],
)
def test_entity_tags_are_found_in_lists(header: str | None, is_named: bool) -> None:
    assert names_tag(header, '"a"') is is_named


CONTENT = tiny_file()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
TAG = f'"{DIGEST}"'
SIZE = len(CONTENT)


@pytest.fixture(scope="module")
def owner(server: Server) -> Iterator[Person]:
    people = People(server)
    yield people("owner", actor=True)
    people.close()


@pytest.fixture(scope="module")
def path(owner: Person) -> str:
    return f"/api/models/{accepted_model(owner, CONTENT)}/"


def get(owner: Person, path: str, **headers: str) -> httpx.Response:
    return owner.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_the_whole_file_says_what_it_should_be(owner: Person, path: str) -> None:
    answer = get(owner, path)

    assert (answer.status_code, answer.content) == (200, CONTENT)
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    expected = {
        "etag": TAG,
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "repr-digest": f"sha-256=:{digest}:",
        "content-length": str(SIZE),
        "content-type": "application/octet-stream",
    }
    assert expected.items() <= dict(answer.headers).items()


def test_head_has_the_headers_of_get_and_no_body(owner: Person, path: str) -> None:
    whole, head = get(owner, path), owner.client.head(path)

    assert (head.status_code, head.content) == (200, b"")
    ignored = {"date"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in whole.headers.items() if k not in ignored
    }
    assert owner.client.head(path, headers={"If-None-Match": TAG}).status_code == 304


def test_a_range_is_a_matter_of_get_alone(owner: Person, path: str) -> None:
    for wanted in ("bytes=0-3", f"bytes={SIZE}-"):
        head = owner.client.head(path, headers={"Range": wanted})
        assert (head.status_code, head.headers["content-length"]) == (200, str(SIZE))


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=10-", (10, SIZE)),
        ("bytes=-7", (SIZE - 7, SIZE)),
        (f"bytes=5-{SIZE * 2}", (5, SIZE)),
        (f"bytes=-{SIZE * 2}", (0, SIZE)),
    ],
    ids=["first", "rest", "last", "beyond the end", "more than all"],
)
def test_a_part_is_206(owner: Person, path: str, wanted: str, part: tuple[int, int]) -> None:
    answer = get(owner, path, range=wanted)

    assert answer.status_code == 206
    assert answer.content == CONTENT[slice(*part)]
    assert answer.headers["content-range"] == f"bytes {part[0]}-{part[1] - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(part[1] - part[0])
    assert answer.headers["etag"] == TAG


def test_a_download_in_parts_is_the_file(owner: Person, path: str) -> None:
    bounds = [0, 1, 1000, SIZE // 2, SIZE]
    parts = [
        get(owner, path, range=f"bytes={start}-{end - 1}", if_range=TAG).content
        for start, end in itertools.pairwise(bounds)
    ]
    assert b"".join(parts) == CONTENT


def test_a_range_behind_the_end_is_416_and_says_the_size(owner: Person, path: str) -> None:
    answer = get(owner, path, range=f"bytes={SIZE}-")

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert str(SIZE) in answer.json()["detail"]


@pytest.mark.parametrize(
    "if_range",
    [f'"{"0" * 64}"', f"W/{TAG}", "Sat, 29 Oct 1994 19:43:31 GMT"],
    ids=["other", "weak", "date"],
)
def test_a_range_of_something_else_is_the_whole_file(
    owner: Person, path: str, if_range: str
) -> None:
    answer = get(owner, path, range="bytes=3-5", if_range=if_range)

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_what_the_caller_has_is_not_sent_again(owner: Person, path: str) -> None:
    for headers in ({"if_none_match": TAG}, {"if_none_match": f'"x", {TAG}', "range": "bytes=0-3"}):
        answer = get(owner, path, **headers)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == TAG
        assert answer.headers["cache-control"] == "private, no-cache"
    assert get(owner, path, if_none_match='"x"').content == CONTENT


@pytest.mark.parametrize("wanted", ["bytes=0-1,4-5", "bytes=9-2", "nonsense"])
def test_what_is_no_single_range_is_ignored(owner: Person, path: str, wanted: str) -> None:
    answer = get(owner, path, range=wanted)

    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_preprocessing_has_ranges_too(owner: Person, path: str) -> None:
    files = {"model_preprocessing_file": ("p", CONTENT)}
    assert owner.client.post(f"{path}preprocessing/", files=files).status_code == 202

    answer = get(owner, f"{path}preprocessing/", range="bytes=1-2")

    assert (answer.status_code, answer.content) == (206, CONTENT[1:3])
