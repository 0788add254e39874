"""Refuses requests whose `Accept` header rules JSON out, before anything is done."""

from typing import TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.datastructures.headers import Accept
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler

from backend.errors import NotAcceptable

JSON = "application/json"
JSON_LINES = "application/jsonl"
# What JSON Lines are asked for by; the first is what they are answered as.
_JSON_LINES_TYPES = (JSON_LINES, "application/x-ndjson")
EVENT_STREAM = "text/event-stream"

UserT = TypeVar("UserT")


async def require_json_accepted(request: Request[object, object, State]) -> None:
    """Refuse who cannot take the JSON that this API answers with.

    `?format=json` asks for JSON whatever the header says. Handlers that answer with files are left
    alone, and so are those marked `any_media_type=True`, which choose by the body. Handlers marked
    `json_lines=True` or `event_stream=True` answer with these as well; the former take
    `?format=jsonl`.

    Raises:
        NotAcceptable: the header names other formats only.
    """
    handler = request.route_handler
    if not request.url.path.startswith("/api/") or not _answers_json(handler):
        return
    accepted = request.headers.get("accept", "").strip()
    json_lines = handler.opt.get("json_lines", False)
    formats = ("json", "jsonl") if json_lines else ("json",)
    if not accepted or request.query_params.get("format") in formats:
        return
    offered = [JSON]
    if json_lines:
        offered += _JSON_LINES_TYPES
    if handler.opt.get("event_stream"):
        offered.append(EVENT_STREAM)
    if Accept(accepted).best_match(offered) is None:
        raise NotAcceptable("Could not satisfy the request Accept header.")


def wants_json_lines(request: Request[UserT, object, State]) -> bool:
    """Whether the caller would rather have JSON Lines than JSON."""
    accepted = request.headers.get("accept", "").strip() or JSON
    return Accept(accepted).best_match([JSON, *_JSON_LINES_TYPES]) in _JSON_LINES_TYPES


def wants_event_stream(request: Request[UserT, object, State]) -> bool:
    """Whether the caller would rather have server-sent events than JSON."""
    accepted = request.headers.get("accept", "").strip()
    if not accepted or request.query_params.get("format") == "json":
        return False
    return Accept(accepted).best_match([JSON, EVENT_STREAM]) == EVENT_STREAM


def _answers_json(handler: object) -> bool:
    return (
        isinstance(handler, HTTPRouteHandler)
        and handler.media_type in {MediaType.JSON, JSON, ""}
        and not handler.opt.get("any_media_type")
    )
