"""Keeps other sites from acting as who is signed in to this one.

A browser sends the session's cookie along whoever makes it send a request. `SameSite=Strict` keeps
other sites from that; what changes something also shows a token that only our own pages can read.
Clients that send credentials in a header need none of this: no page makes a browser do it for them.
"""

import hmac
from typing import TypeVar

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from backend.errors import NotAllowed, WrongMediaType
from backend.security.media_types import requires_json
from backend.security.sessions import csrf_token

CSRF_HEADER = "X-CSRF-Token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

HandlerT = TypeVar("HandlerT")
UserT = TypeVar("UserT")
AuthT = TypeVar("AuthT")


def require_own_page(
    connection: ASGIConnection[HandlerT, UserT, AuthT, State], secret: str
) -> None:
    """Refuse a change that no page of ours asks for; who only reads may.

    Args:
        secret: Of the session whose cookie came along.

    Raises:
        NotAllowed: the session's token is missing, or another site is behind it.
    """
    if connection.scope.get("method") in _SAFE_METHODS:
        return
    refuse_other_sites(connection)
    given = connection.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode(), csrf_token(secret).encode()):
        raise NotAllowed(
            f"With a session cookie, this needs the header {CSRF_HEADER}: send the csrf_token of "
            "GET /api/session/."
        )


def refuse_other_sites(connection: ASGIConnection[HandlerT, UserT, AuthT, State]) -> None:
    """Refuse what the browser says another site has made it send. Raises `NotAllowed`."""
    if connection.headers.get("sec-fetch-site", "").strip().lower() == "cross-site":
        raise NotAllowed("This request was made by a page of another site.")


def requires_own_json(
    connection: ASGIConnection[BaseRouteHandler, object, object, State], handler: BaseRouteHandler
) -> None:
    """Refuse what a page of another site could make a browser send without asking us first.

    A guard of requests that begin a session: they have no token yet.
    """
    refuse_other_sites(connection)
    if "content-type" not in connection.headers:
        raise WrongMediaType("Send application/json, and say so as Content-Type.")
    requires_json(connection, handler)
