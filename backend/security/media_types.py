"""Guards on the content type of a request."""

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

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
