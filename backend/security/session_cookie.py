"""How a browser holds the secret of its session (`backend.security.sessions`)."""

from typing import TypeVar
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State

from backend.security.sessions import LIFETIME

HandlerT = TypeVar("HandlerT")
UserT = TypeVar("UserT")
AuthT = TypeVar("AuthT")


class SessionCookie:
    """The cookie that holds the secret.

    Its name has the server's port: browsers send cookies to all servers of a host. Behind HTTPS it
    begins with `__Host-`, so that no other host of the domain can set it.
    """

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._secure = address.scheme == "https"
        prefix = "__Host-" if self._secure else ""
        suffix = "" if address.port is None else f"-{address.port}"
        self.name = f"{prefix}starling-session{suffix}"

    def secret_in(self, connection: ASGIConnection[HandlerT, UserT, AuthT, State]) -> str | None:
        """The secret that a request came with."""
        return connection.cookies.get(self.name) or None

    def holding(
        self, secret: str | None, connection: ASGIConnection[HandlerT, UserT, AuthT, State]
    ) -> Cookie:
        """The cookie to answer with; without a secret, the browser forgets the one it has."""
        return Cookie(
            key=self.name,
            value=secret,
            max_age=0 if secret is None else int(LIFETIME.total_seconds()),
            path="/",
            secure=self._secure or connection.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
