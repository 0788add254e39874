"""Downloads that break and go on, uploads in parts."""

import base64
import hashlib
import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starling_client import connection, transfers
from starling_client.calls import Call, Operation
from starling_client.connection import Connection, Line
from starling_client.errors import DamagedTransfer, ServerBusy
from starling_client.transfers import Download, FileBody, ModelFiles, digest_header, upload_in_parts

from tests.client.scripted_servers import (
    Asked,
    Reply,
    ScriptedServer,
    one_after_the_other,
    refusal,
)

CONTENT = bytes(range(256)) * 40
MODEL = UUID(int=7)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(transfers, "VAIN_PAUSE_SECONDS", 0.0)


def tag_of(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def served(content: bytes, asked: Asked, cut_after: int | None = None) -> Reply:
    """As Starling serves a file: whole, in part if nothing has changed, or not again."""
    tag = tag_of(content)
    if asked.headers.get("if-none-match") == tag:
        return Reply(304, b"", {"ETag": tag})
    found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
    if found and asked.headers.get("if-range") == tag:
        return Reply(206, content[int(found[1]) :], {"ETag": tag}, cut_after)
    return Reply(200, content, {"ETag": tag}, cut_after)


def download(server: ScriptedServer, into: Download) -> int:
    def fetch() -> Operation[int]:
        answer = yield Call("GET", "/model", sink=into)
        return answer.status_code

    with Connection(Line(server.url, "token", 60.0)) as open_connection:
        return open_connection.run(fetch())


def test_a_broken_download_goes_on_where_it_was(tmp_path: Path) -> None:
    cuts = iter([3000, 0, 2000, None])
    path = tmp_path / "model"
    with ScriptedServer(lambda asked: served(CONTENT, asked, next(cuts))) as server:
        download(server, Download(path, label="Model"))
        ranges = [asked.headers.get("range") for asked in server.asked]
    assert path.read_bytes() == CONTENT
    assert ranges == [None, "bytes=3000-", "bytes=3000-", "bytes=5000-"]


def test_parts_of_two_versions_are_never_put_together(tmp_path: Path) -> None:
    newer = CONTENT[::-1]
    versions = iter([(CONTENT, 3000), (newer, 1000), (newer, None)])

    def respond(asked: Asked) -> Reply:
        content, cut_after = next(versions)
        return served(content, asked, cut_after)

    path = tmp_path / "model"
    into = Download(path, label="Model")
    with ScriptedServer(respond) as server:
        download(server, into)
    assert path.read_bytes() == newer
    assert into.tag == tag_of(newer)


def test_damaged_bytes_are_asked_for_again_from_the_beginning(tmp_path: Path) -> None:
    damaged = Reply(200, b"x" + CONTENT[1:], {"ETag": tag_of(CONTENT)})
    whole = Reply(200, CONTENT, {"ETag": tag_of(CONTENT)})
    path = tmp_path / "model"
    with ScriptedServer(one_after_the_other(damaged, whole)) as server:
        download(server, Download(path, label="Model"))
        assert "range" not in server.asked[1].headers
    assert path.read_bytes() == CONTENT


def test_bytes_that_stay_damaged_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = Reply(200, b"x" + CONTENT[1:], {"ETag": tag_of(CONTENT)})
    with (
        ScriptedServer(lambda _: damaged) as server,
        Connection(Line(server.url, "token", 0.0)) as open_connection,
        pytest.raises(DamagedTransfer, match="arrived damaged"),
    ):
        open_connection.run(ModelFiles(tmp_path).fetch(MODEL, "original"))


def test_a_model_that_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path)
    versions = iter([CONTENT, CONTENT, b"newer"])
    with (
        ScriptedServer(lambda asked: served(next(versions), asked)) as server,
        Connection(Line(server.url, "token", 60.0)) as open_connection,
    ):
        first, again, newer = (
            open_connection.run(files.fetch(MODEL, "safetensors")) for _ in range(3)
        )
        assert [asked.headers.get("if-none-match") for asked in server.asked] == [
            None,
            tag_of(CONTENT),
            tag_of(CONTENT),
        ]
    assert again == first
    assert newer.read_bytes() == b"newer"
    assert not first.exists()
    assert newer.suffix == ".safetensors"


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(content=st.binary(max_size=50), data=st.data())
def test_a_file_is_sent_from_an_offset_as_often_as_needed(
    tmp_path: Path, content: bytes, data: st.DataObject
) -> None:
    path = tmp_path / "update"
    path.write_bytes(content)
    offset = data.draw(st.integers(0, len(content)))
    body = FileBody(path, label="Update", offset=offset)
    assert b"".join(body) == b"".join(body) == content[offset:]
    assert body.size_bytes == len(content) - offset
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert digest_header(path) == {"Content-Digest": f"sha-256=:{digest}:"}


class TusServer:
    """Takes an upload; connections break after so many bytes of a PATCH, one figure each."""

    def __init__(self, takes: list[int | None]) -> None:
        self.arrived = b""
        self._takes = iter(takes)

    def respond(self, asked: Asked) -> Reply | None:
        assert asked.headers["tus-resumable"] == "1.0.0"
        if asked.method == "POST":
            location = {"Location": "/api/uploads/5a/"}
            return Reply(201, json.dumps({}).encode(), location)
        if asked.method == "PATCH":
            assert int(asked.headers["upload-offset"]) == len(self.arrived)
            takes = next(self._takes)
            self.arrived += asked.body[:takes]
            if takes is not None:
                return None
        return Reply(200, b"", {"Upload-Offset": str(len(self.arrived))})


def test_an_upload_in_parts_goes_on_after_every_break(tmp_path: Path) -> None:
    path = tmp_path / "update"
    path.write_bytes(CONTENT)
    tus = TusServer([4000, 0, 100, None])
    with (
        ScriptedServer(tus.respond) as server,
        Connection(Line(server.url, "token", 60.0)) as open_connection,
    ):
        assert open_connection.run(upload_in_parts(path, label="Update")) == "5a"
    assert tus.arrived == CONTENT


def test_an_upload_that_does_not_get_on_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "update"
    path.write_bytes(CONTENT)

    def respond(asked: Asked) -> Reply:
        if asked.method == "PATCH":
            return refusal(503, "The disk is full.")
        return Reply(201, b"{}", {"Location": "/api/uploads/5a/", "Upload-Offset": "0"})

    with (
        ScriptedServer(respond) as server,
        Connection(Line(server.url, "token", 60.0)) as open_connection,
        pytest.raises(ServerBusy, match="disk is full"),
    ):
        open_connection.run(upload_in_parts(path, label="Update"))
