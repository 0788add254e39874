"""HEAD wherever GET is answered, OPTIONS that names every method, and methods behind POST."""

from typing import TypeVar, cast

from litestar import Request, Response
from litestar.datastructures import Headers, State
from litestar.routes import HTTPRoute
from litestar.status_codes import HTTP_204_NO_CONTENT
from litestar.types import ASGIApp, Message, Receive, Scope, Send

UserT = TypeVar("UserT")

_IS_HEAD = "starling.is_head"
_OVERRIDE = "x-http-method-override"
_OVERRIDES = frozenset({"PATCH", "DELETE", "HEAD"})


def answer_head(app: ASGIApp) -> ASGIApp:
    """The application with HEAD for every GET.

    It wraps the application from outside, because a route that has no HEAD is refused before any
    middleware of Litestar's runs. The answer ends with its headers, and the application learns that
    nobody listens any more: a stream of events would have no end.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        asked = {**scope, "method": "GET", _IS_HEAD: True}
        await app(cast("Scope", asked), receive, send_head)

    return wrapped


def override_method(app: ASGIApp, *, below: str) -> ASGIApp:
    """The application that, below a path, takes POST for what X-HTTP-Method-Override says.

    Some networks let nothing but GET and POST through; the tus protocol has this for them.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "POST" and scope["path"].startswith(below):
            method = Headers.from_scope(scope).get(_OVERRIDE, "").upper()
            if method in _OVERRIDES:
                scope = cast("Scope", {**scope, "method": method})
        await app(scope, receive, send)

    return wrapped


def is_head(request: Request[UserT, object, State]) -> bool:
    """Whether only the headers are wanted: a handler may spare itself the body."""
    return _IS_HEAD in request.scope


def answer_options(request: Request[object, object, State]) -> Response[None] | None:
    """The answer to OPTIONS; None for other methods.

    Litestar's own names the methods of the first handler of an address only.
    """
    if request.method != "OPTIONS":
        return None
    template = request.scope["path_template"]
    methods = {
        str(method)
        for route in request.app.routes
        if isinstance(route, HTTPRoute) and route.path_format == template
        for method in route.methods
    }
    if "GET" in methods:
        methods.add("HEAD")
    return Response(
        None, status_code=HTTP_204_NO_CONTENT, headers={"Allow": ", ".join(sorted(methods))}
    )
