"""Guards on who is calling."""

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from backend.errors import NotAllowed
from backend.security.caller import Caller


def requires_superuser(
    connection: ASGIConnection[BaseRouteHandler, Caller, object, State], _: BaseRouteHandler
) -> None:
    """Refuse everybody but superusers."""
    # What an address takes is no secret: nobody is asked who they are for OPTIONS.
    if connection.scope.get("method") != "OPTIONS" and not connection.user.superuser:
        raise NotAllowed("Only superusers may do this.")
