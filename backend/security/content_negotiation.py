"""Refuses requests whose `Accept` header rules JSON out, before anything is done."""

from litestar import Request
from litestar.datastructures import State
from litestar.datastructures.headers import Accept
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler

from backend.errors import NotAcceptable

JSON = "application/json"


async def require_json_accepted(request: Request[object, object, State]) -> None:
    """Refuse who cannot take the JSON that this API answers with.

    `?format=json` asks for JSON whatever the header says. Handlers that answer with files are left
    alone, and so are those marked `any_media_type=True`, which choose by the body.

    Raises:
        NotAcceptable: the header names other formats only.
    """
    handler = request.route_handler
    if not request.url.path.startswith("/api/") or not _answers_json(handler):
        return
    accepted = request.headers.get("accept", "").strip()
    if not accepted or request.query_params.get("format") == "json":
        return
    if not Accept(accepted).accepts(JSON):
        raise NotAcceptable("Could not satisfy the request Accept header.")


def _answers_json(handler: object) -> bool:
    return (
        isinstance(handler, HTTPRouteHandler)
        and handler.media_type in {MediaType.JSON, JSON, ""}
        and not handler.opt.get("any_media_type")
    )
