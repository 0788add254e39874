"""When a request is sent again, and what its answer is taken for, by both connections alike."""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

import pytest
from starling_client import connection
from starling_client.calls import Call, Operation, Wait, fetch
from starling_client.connection import AsyncConnection, Connection, Line
from starling_client.errors import (
    Conflict,
    InvalidRequest,
    MissingSetting,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Refused,
    ServerBusy,
    Unreachable,
    WrongAddress,
)

from tests.client.scripted_servers import Reply, ScriptedServer, one_after_the_other, refusal
from tests.servers import free_port

T = TypeVar("T")
Run = Callable[[str, Operation[T]], T]


def run_sync(url: str, operation: Operation[T], patience_seconds: float = 60.0) -> T:
    with Connection(Line(url, "token", patience_seconds)) as open_connection:
        return open_connection.run(operation)


def run_async(url: str, operation: Operation[T], patience_seconds: float = 60.0) -> T:
    async def run() -> T:
        async with AsyncConnection(Line(url, "token", patience_seconds)) as open_connection:
            return await open_connection.run(operation)

    return asyncio.run(run())


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run[object]:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    chosen: Run[object] = request.param
    return chosen


def status_of(call: Call) -> Operation[object]:
    answer = yield call
    return answer.status_code


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(refusal(503, "The database is away."), id="busy"),
        pytest.param(refusal(429, "Slower.", **{"Retry-After": "0"}), id="too-many"),
        pytest.param(refusal(423, "Another request appends."), id="locked"),
        pytest.param(Reply(502, b"<html>bad gateway</html>"), id="proxy"),
        pytest.param(None, id="broken-off"),
        pytest.param(Reply(200, b'{"a": 1}', cut_after=3), id="cut-off"),
    ],
)
def test_what_may_succeed_later_is_asked_again(run: Run[object], failure: Reply | None) -> None:
    with ScriptedServer(one_after_the_other(failure, failure, Reply())) as server:
        assert run(server.url, status_of(Call("GET", "/"))) == 200
        assert len(server.asked) == 3
        assert {asked.headers["authorization"] for asked in server.asked} == {"Token token"}


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (400, "name: At most 256 characters.", InvalidRequest),
        (400, "Training 17 not found.", NotFound),
        (401, "Invalid token.", NotAuthenticated),
        (403, "You are not the owner.", NotAllowed),
        (404, "There is nothing at /api/x/.", NotFound),
        (409, "You delivered another update.", Conflict),
        (410, "That version is not kept.", NotFound),
        (413, "The body is larger than this address takes.", InvalidRequest),
        (501, "Unsupported method.", InvalidRequest),
    ],
)
def test_a_refusal_is_raised_at_once_with_the_sentence_of_the_server(
    run: Run[object], status: int, detail: str, kind: type[Refused]
) -> None:
    with (
        ScriptedServer(one_after_the_other(refusal(status, detail))) as server,
        pytest.raises(kind) as raised,
    ):
        run(server.url, status_of(Call("GET", "/")))
    assert type(raised.value) is kind
    assert (raised.value.detail, raised.value.status) == (detail, status)


def test_fields_at_fault_are_named(run: Run[object]) -> None:
    body = b'{"detail": "name: Too long.", "errors": {"name": ["Too long."]}}'
    with (
        ScriptedServer(one_after_the_other(Reply(400, body))) as server,
        pytest.raises(InvalidRequest) as raised,
    ):
        run(server.url, status_of(Call("GET", "/")))
    assert raised.value.errors == {"name": ["Too long."]}


def test_what_must_not_happen_twice_is_sent_again_only_if_it_had_no_effect(
    run: Run[object],
) -> None:
    create = Call("POST", "/", repeatable=False)
    with ScriptedServer(one_after_the_other(refusal(503, "Stored nothing."), Reply(201))) as server:
        assert run(server.url, status_of(create)) == 201
    with ScriptedServer(one_after_the_other(None)) as server, pytest.raises(Unreachable):
        run(server.url, status_of(create))
    with (
        ScriptedServer(one_after_the_other(refusal(500, "Went wrong."))) as server,
        pytest.raises(ServerBusy, match="Went wrong"),
    ):
        run(server.url, status_of(create))


def test_a_server_that_was_never_there_is_given_up_soon(
    run: Run[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_PATIENCE_SECONDS", 0.01)
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"{url} cannot be reached") as raised:
        run(url, status_of(Call("GET", "/")))
    assert raised.value.unsent


def test_a_server_that_answered_once_is_waited_for() -> None:
    line = Line("http://127.0.0.1:1", "token", patience_seconds=3600)
    assert line.stop(after_seconds(3599)) is True
    line.met = True
    assert line.stop(after_seconds(3599)) is False
    assert line.stop(after_seconds(3600)) is True


def after_seconds(seconds: float) -> "connection.RetryCallState":
    state = connection.RetryCallState(connection.Retrying(), None, (), {})
    state.start_time, state.outcome_timestamp = 0.0, seconds
    return state


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(200, b"<html>welcome</html>"), id="a-page"),
        pytest.param(Reply(200, b"[]"), id="other-json"),
        pytest.param(Reply(301, b"", {"Location": "https://elsewhere/"}), id="sent-on"),
    ],
)
def test_what_is_no_starling_server_is_a_wrong_address(run: Run[object], reply: Reply) -> None:
    with (
        ScriptedServer(one_after_the_other(reply)) as server,
        pytest.raises(WrongAddress) as raised,
    ):
        run(server.url, fetch(Call("GET", "/"), dict[str, str]))
    if reply.status == 301:
        assert "https://elsewhere/" in raised.value.detail


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://host", "http://", "http://[::1"])
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(WrongAddress, match="no address"):
        Line(url, "token", 1.0)


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ä"])
def test_what_is_no_token_is_refused_before_anything_is_sent(token: str) -> None:
    with pytest.raises(MissingSetting, match="Copy it again"):
        Line("http://localhost", token, 1.0)


def test_an_operation_deals_with_a_refusal_itself(run: Run[object]) -> None:
    def forgiving() -> Operation[object]:
        try:
            yield Call("GET", "/")
        except NotFound:
            yield Wait(0.0)
            answer = yield Call("GET", "/elsewhere")
            return answer.status_code
        return None

    with ScriptedServer(one_after_the_other(refusal(404, "Nothing."), Reply(202))) as server:
        assert run(server.url, forgiving()) == 202
        assert [asked.path for asked in server.asked] == ["/", "/elsewhere"]


def test_an_answer_that_does_not_come_is_given_up(run: Run[object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        call = Call("GET", "/", timeout_seconds=0.05, retried=False)
        with pytest.raises(Unreachable) as raised:
            run(f"http://127.0.0.1:{mute.getsockname()[1]}", status_of(call))
    assert not raised.value.unsent
