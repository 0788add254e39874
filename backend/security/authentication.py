"""Finds the caller of every request; handlers marked `public=True` go without."""

from typing import cast
from uuid import UUID

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from backend.db.tables import User
from backend.errors import NotAuthenticated
from backend.security.credentials import (
    WRONG_PASSWORD,
    WRONG_TOKEN,
    PasswordCredentials,
    parse_authorization,
)
from backend.security.passwords import PasswordVerifier
from backend.security.tokens import hash_token


class Caller(msgspec.Struct, frozen=True):
    """The user behind a request."""

    id: UUID
    username: str
    superuser: bool


CallerRequest = Request[Caller, object, State]


class Authenticator:
    """Turns an `Authorization` header into the caller."""

    def __init__(self) -> None:
        self._passwords = PasswordVerifier()

    async def identify(self, header: str | None) -> Caller:
        """The caller.

        Raises:
            NotAuthenticated: no or wrong credentials, or the account is disabled.
        """
        credentials = parse_authorization(header)
        if isinstance(credentials, PasswordCredentials):
            user = await User.objects().get(User.username == credentials.username)
            stored = user.password_hash if user is not None else None
            if not await self._passwords.verify(stored, credentials.password):
                raise NotAuthenticated(WRONG_PASSWORD)
        else:
            user = await User.objects().get(User.token_hash == hash_token(credentials.token))
        if user is None:
            raise NotAuthenticated(WRONG_TOKEN)
        if not user.active:
            raise NotAuthenticated("This account is disabled.")
        return Caller(user.id, user.username, user.superuser)


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Sets `request.user`."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, exclude="^/api/schema", exclude_from_auth_key="public")

    async def authenticate_request(
        self, connection: ASGIConnection[BaseRouteHandler, Caller, object, State]
    ) -> AuthenticationResult:
        """The caller of this request."""
        authenticator = cast("Authenticator", connection.app.state.authenticator)
        caller = await authenticator.identify(connection.headers.get("authorization"))
        return AuthenticationResult(user=caller, auth=None)
