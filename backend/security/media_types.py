"""Content types: of requests as declared, of answers as stated and nothing else."""

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler
from litestar.types import Message, Scope

from backend.errors import WrongMediaType


def requires_json(
    connection: ASGIConnection[BaseRouteHandler, object, object, State], _: BaseRouteHandler
) -> None:
    """Refuse a body that says it is something else than JSON; one that says nothing is tried."""
    declared = connection.headers.get("content-type", "application/json")
    media_type = declared.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise WrongMediaType(
            f'Unsupported media type "{declared}" in request. Send application/json.'
        )


async def forbid_sniffing(message: Message, _: Scope) -> None:
    """Have browsers take each answer for what it says it is.

    Otherwise an uploaded file could be made to run as a script of our own pages.
    """
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
