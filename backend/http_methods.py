"""HEAD wherever GET is answered, and OPTIONS that names every method of an address."""

from typing import cast

from litestar import Request, Response
from litestar.datastructures import State
from litestar.routes import HTTPRoute
from litestar.status_codes import HTTP_204_NO_CONTENT
from litestar.types import ASGIApp, Message, Receive, Scope, Send


def answer_head(app: ASGIApp) -> ASGIApp:
    """The application with HEAD for every GET.

    It wraps the application from outside, because a route that has no HEAD is refused before any
    middleware of Litestar's runs.
    """

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = cast("Message", {**message, "body": b""})
            await send(message)

        await app(cast("Scope", {**scope, "method": "GET"}), receive, send_head)

    return wrapped


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
