"""The recorded exchanges of the platform whose API Starling speaks, and how one is sent again."""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlencode

import httpx

HERE = Path(__file__).parent
RECORDED_GROUP = "/api/groups/1/"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
# Every recorded user name ends in it; sent anew each time, so that no name is taken.
RECORDED_SUFFIX = "b7b1e5"
# Messages that api.md fixes. What others say is ours, as long as it is a string in `detail`.
CONTRACT_MESSAGES = (
    "Authentication credentials were not provided.",
    "Invalid username/password.",
    "Invalid token.",
    "Invalid token header.",
    "Invalid basic header.",
    " not found.",
    "You are not a participant of training",
    "does not have a training process running",
    "You do not have permission to perform this action.",
    "You are not the owner the training.",
    "At least one participant must be registered!",
    "is not in state INITIAL!",
    "Not all provided users were found!",
    "Accepted",
    "Training created successfully!",
    "Training started!",
    "Training removed!",
    "Users registered as participants!",
    "Users removed from training participants!",
)


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer.

    Attributes:
        defect: Why the recorded answer is not the contract; empty where it is.
        note: What was special when it was recorded.
    """

    name: str
    method: str
    path: str
    request_headers: Mapping[str, str]
    request_body: Mapping[str, object] | None
    status: int
    response_headers: Mapping[str, str]
    response: object
    defect: str = ""
    note: str = ""


def load_exchanges() -> dict[str, Exchange]:
    """All recorded exchanges by name, in order; ids in paths are `{id}`."""
    lines = (HERE / "exchanges.jsonl").read_text().splitlines()
    exchanges = (Exchange(**json.loads(line)) for line in lines)
    return {
        one.name: replace(one, path=one.path.replace(RECORDED_GROUP, "/api/groups/{id}/"))
        for one in exchanges
    }


@dataclass(frozen=True)
class Sending:
    """What a recording does not say: who sends it, to what, with which bytes.

    Attributes:
        ids: Recorded id to the one it stands for here; ids that are not in it name nothing here.
        files: Content of file parts by field name.
        lost: Fields of a multipart form that the recording lacks.
        model_input: Of a prediction, where the recording was cut; empty where it was not.
    """

    client: httpx.Client
    headers: Mapping[str, str] = field(default_factory=dict)
    path_id: str = ""
    ids: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    lost: Sequence[tuple[str, str]] = ()
    model_input: str = ""
    suffix: str = field(default_factory=lambda: secrets.token_hex(3))


def send(exchange: Exchange, sending: Sending) -> httpx.Response:
    """The answer to the recorded request, sent in a situation like the recorded one."""
    headers = dict(sending.headers)
    if "xml" in exchange.request_headers.get("Accept", ""):
        headers["Accept"] = exchange.request_headers["Accept"]
    kind = exchange.request_headers.get("Content-Type", "")
    body = _translated(exchange.request_body, sending)
    request = _request_body(body, kind, headers, sending)
    return sending.client.request(
        exchange.method,
        exchange.path.replace("{id}", sending.path_id),
        headers=headers,
        follow_redirects=True,
        **request,  # type: ignore[arg-type]
    )


def _translated(body: Mapping[str, object] | None, sending: Sending) -> Mapping[str, object]:
    text = json.dumps(body or {}).replace(RECORDED_SUFFIX, sending.suffix)
    translated = UUID.sub(lambda found: sending.ids.get(found[0], found[0]), text)
    whole = dict(json.loads(translated))
    if sending.model_input:
        _replace_input(whole, sending.model_input)
    return whole


def _replace_input(body: dict[str, object], model_input: str) -> None:
    match body:
        case {"json": dict(order)}:
            order["model_input"] = model_input
        case {"multipart": {"fields": list(fields)}}:
            fields[:] = [
                [name, model_input if name == "model_input" else value] for name, value in fields
            ]
        case _:
            raise AssertionError(f"There is no input in {body}.")


def _request_body(
    body: Mapping[str, object], kind: str, headers: dict[str, str], sending: Sending
) -> dict[str, object]:
    match body:
        case {"json": value}:
            headers["Content-Type"] = kind
            return {"content": json.dumps(value).encode()}
        case {"raw": str(text)}:
            headers["Content-Type"] = kind
            return {"content": text.encode()}
        case {"form": list(pairs)}:
            headers["Content-Type"] = kind
            return {"content": urlencode([(name, value) for name, value in pairs]).encode()}
        case {"multipart": {"fields": fields, "files": list(parts)}}:
            sent: list[tuple[str, tuple[str | None, str | bytes]]] = [
                (name, (None, value)) for name, value in [*(fields or []), *sending.lost]
            ]
            for part in parts:
                content = sending.files.get(part["field"], b"x" * part["bytes"])
                sent.append((part["field"], (part["filename"], content)))
            return {"files": sent}
        case _:
            return {}


def assert_answered(exchange: Exchange, answer: httpx.Response, statuses: frozenset[int]) -> None:
    """The answer is the recorded one, or the contract's better one.

    Args:
        statuses: What the contract allows.
    """
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:500]}"
    if exchange.method == "HEAD":
        assert answer.content == b""
        return
    for header in ("www-authenticate", "content-disposition"):
        if answer.status_code == exchange.status and header in exchange.response_headers:
            recorded = exchange.response_headers[header]
            if "model-" in recorded or header == "www-authenticate":
                assert _masked(answer.headers[header]) == _masked(recorded)
    if answer.status_code >= 400:
        _assert_error(exchange, answer)
    elif answer.status_code == exchange.status:
        _assert_shape(exchange, answer)


def _assert_error(exchange: Exchange, answer: httpx.Response) -> None:
    error = answer.json()
    assert isinstance(error, dict)
    assert isinstance(error["detail"], str)
    if answer.status_code == 405:
        assert answer.headers["Allow"]
    match exchange.response:
        case {"detail": str(recorded)} if answer.status_code == exchange.status:
            if any(message in recorded for message in CONTRACT_MESSAGES):
                assert _masked(error["detail"]).startswith(_masked(recorded))


def _assert_shape(exchange: Exchange, answer: httpx.Response) -> None:
    match exchange.response:
        case "<html>":
            assert answer.headers["Content-Type"].startswith("text/html")
        case "<openapi document>":
            wanted = "json" in exchange.response_headers["content-type"]
            assert ("json" in answer.headers["Content-Type"]) == wanted
        case "":
            assert answer.content == b""
        case str(text) if text.startswith("<binary"):
            assert answer.headers["Content-Type"] == "application/octet-stream"
        case str(cut):
            first = _first_of_cut(cut)
            assert_same_shape([first] if cut.startswith("[") else first, answer.json())
        case recorded:
            assert_same_shape(recorded, answer.json())
    match exchange.response:
        case {"detail": str(recorded_detail)}:
            assert answer.json()["detail"] == recorded_detail


def assert_same_shape(recorded: object, actual: object, where: str = "answer") -> None:
    """Every recorded field is there with a value of its kind; more fields may be."""
    if recorded is None or actual is None:
        return
    assert _kind(actual) == _kind(recorded), f"{where}: {actual!r} for {recorded!r}"
    match recorded, actual:
        case dict(), dict():
            assert set(recorded) <= set(actual), f"{where} lacks {set(recorded) - set(actual)}"
            for key, value in recorded.items():
                assert_same_shape(value, actual[key], f"{where}.{key}")
        case [first, *_], [_, *_]:
            # Lists of models mix kinds in no order that the contract would fix.
            assert any(_has_shape(first, other) for other in actual), f"{where}: {actual!r}"


def _has_shape(recorded: object, actual: object) -> bool:
    try:
        assert_same_shape(recorded, actual)
    except AssertionError:
        return False
    return True


def _kind(value: object) -> str:
    match value:
        case bool():
            return "flag"
        case int() | float():
            return "number"
        case _:
            return type(value).__name__


def _masked(text: str) -> str:
    return re.sub(r"^Group \d+", "Group <id>", UUID.sub("<id>", text))


def _first_of_cut(text: str) -> object:
    """The first object of a list, or of the beginning of an object, whose text was cut."""
    decoder = json.JSONDecoder()
    if text.startswith("["):
        try:
            return decoder.raw_decode(text[1:])[0]
        except json.JSONDecodeError:
            text = text[1:]
    # Without the field that was cut in the middle, the rest of an object is whole.
    for end in sorted({found.start() for found in re.finditer(r', "', text)}, reverse=True):
        try:
            return decoder.decode(text[:end] + "}")
        except json.JSONDecodeError:
            continue
    raise AssertionError(f"Nothing whole in {text!r}.")
