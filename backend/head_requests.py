"""Answers HEAD wherever GET is answered, without a body."""

from typing import cast

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
