"""Finds the caller of every request; handlers marked `public=True` go without."""

import asyncio
from collections.abc import Collection
from typing import Literal, TypeVar, cast
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp

from backend.db.lookups import Lookups
from backend.db.tables import User
from backend.errors import NotAuthenticated
from backend.security.caller import Caller
from backend.security.content_negotiation import EVENT_STREAM
from backend.security.credentials import (
    WRONG_PASSWORD,
    WRONG_TOKEN,
    PasswordCredentials,
    parse_authorization,
)
from backend.security.cross_site import require_own_page
from backend.security.login_limits import LoginLimits, network_of
from backend.security.passwords import PasswordVerifier
from backend.security.presence import Presence
from backend.security.session_cookie import SessionCookie
from backend.security.sessions import SessionOwner, Sessions
from backend.security.tokens import hash_token
from backend.settings import DEFAULT_HASHING, PasswordHashing

HASHES_AT_ONCE = 4
# Sent by a page of ours that nobody has touched for minutes.
UNATTENDED_HEADER = "starling-unattended"
SESSION_OVER = "Your session is over. Sign in again."

HandlerT = TypeVar("HandlerT")
UserT = TypeVar("UserT")
AuthT = TypeVar("AuthT")


class Account(msgspec.Struct, frozen=True):
    """Of a user, what signing in takes."""

    id: UUID
    username: str
    password_hash: str
    superuser: bool
    active: bool
    token_hash: str


SignInT = TypeVar("SignInT", bound=Account | SessionOwner)
CallerRequest = Request[Caller, object, State]


class Authenticator:
    """Turns an `Authorization` header, or a session, into the caller."""

    def __init__(
        self,
        presence: Presence,
        sessions: Sessions,
        hashing: PasswordHashing = DEFAULT_HASHING,
    ) -> None:
        self._presence = presence
        self._sessions = sessions
        self._by_name = Lookups(_users_by_name)
        self._by_token = Lookups(_users_by_token)
        self._passwords = PasswordVerifier(hashing)
        self._limits = LoginLimits()
        self._pairs: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        # argon2 takes up to 64 MiB each time; who comes meanwhile waits.
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    async def identify(self, header: str | None, address: str) -> Caller:
        """The caller.

        Args:
            address: Where the request comes from; failed logins are counted under it.

        Raises:
            NotAuthenticated: no or wrong credentials, or the account is disabled.
            TooManyAttempts: too many logins failed from there.
        """
        credentials = parse_authorization(header)
        if isinstance(credentials, PasswordCredentials):
            user = await self.check_password(credentials, address)
        else:
            user = _active(await self._by_token.get(hash_token(credentials.token)), WRONG_TOKEN)
        self._presence.seen(user.id)
        return Caller(user.id, user.username, user.superuser)

    async def identify_session(self, secret: str, *, in_use: bool = True) -> Caller:
        """The user of a session. Raises `NotAuthenticated` when it is over.

        Args:
            in_use: Whether somebody is at the browser, so that the session goes on.
        """
        user = _active(await self._sessions.find(secret, renewing=in_use), SESSION_OVER)
        self._presence.seen(user.id)
        return Caller(user.id, user.username, user.superuser, session=user.secret_hash)

    async def check_password(self, credentials: PasswordCredentials, address: str) -> Account:
        """The account with this name and password. Raises as `identify`."""
        found = await self._by_name.get(credentials.username)
        stored = found.password_hash if found is not None else None
        if not await self._is_right(credentials, stored, address):
            raise NotAuthenticated(WRONG_PASSWORD)
        return _active(found, WRONG_PASSWORD)

    async def _is_right(
        self, given: PasswordCredentials, password_hash: str | None, address: str
    ) -> bool:
        """Whether the password is right; who has failed too often gets no look at it."""
        await self._limits.require_open(given.username, address)
        if password_hash is not None and self._passwords.remembers(password_hash, given.password):
            await self._limits.succeeded(given.username, address)
            return True
        # One at a time per pair, or a burst of guesses would pass before the first is counted.
        pair = self._pairs.setdefault((given.username, network_of(address)), asyncio.Lock())
        async with pair, self._hashing:
            await self._limits.require_open(given.username, address)
            right = await self._passwords.verify(password_hash, given.password)
            if right:
                await self._limits.succeeded(given.username, address)
            else:
                await self._limits.failed(given.username, address)
            return right


async def _users_by_name(names: Collection[str]) -> dict[str, Account]:
    return {found.username: found for found in await _accounts("username", names)}


async def _users_by_token(hashes: Collection[str]) -> dict[str, Account]:
    return {found.token_hash: found for found in await _accounts("token_hash", hashes)}


async def _accounts(
    column: Literal["username", "token_hash"], values: Collection[str]
) -> list[Account]:
    # Not through the query builder: every request waits for this one.
    columns = ", ".join(Account.__struct_fields__)
    places = ", ".join("{}" for _ in values)
    query = f"SELECT {columns} FROM starling_user WHERE {column} IN ({places})"  # noqa: S608
    return msgspec.convert(await User.raw(query, *values), list[Account])


def _active(user: SignInT | None, refusal: str) -> SignInT:
    if user is None:
        raise NotAuthenticated(refusal)
    if not user.active:
        raise NotAuthenticated("This account is disabled.")
    return user


async def identify_caller(connection: ASGIConnection[HandlerT, UserT, AuthT, State]) -> Caller:
    """The caller of a request, also where the middleware does not ask.

    Raises:
        NotAuthenticated, TooManyAttempts: as `identify` and `identify_session`.
        NotAllowed: a session's cookie came with a change that no page of ours asks for.
    """
    authenticator = cast("Authenticator", connection.app.state.authenticator)
    header = connection.headers.get("authorization")
    if header is None:
        cookie = cast("SessionCookie", connection.app.state.session_cookie)
        if (secret := cookie.secret_in(connection)) is not None:
            caller = await authenticator.identify_session(secret, in_use=_is_in_use(connection))
            require_own_page(connection, secret)
            return caller
    return await authenticator.identify(header, address_of(connection))


def _is_in_use(connection: ASGIConnection[HandlerT, UserT, AuthT, State]) -> bool:
    """Whether a person is behind a request: pages left open go on asking and listening."""
    headers = connection.headers
    return UNATTENDED_HEADER not in headers and EVENT_STREAM not in headers.get("accept", "")


async def find_caller(
    connection: ASGIConnection[HandlerT, UserT, AuthT, State],
) -> Caller | None:
    """The caller where nobody need be one; None also when their session is over.

    Raises as `identify_caller`, but for that.
    """
    try:
        return await identify_caller(connection)
    except NotAuthenticated:
        if "authorization" in connection.headers:
            raise
        return None


def address_of(connection: ASGIConnection[HandlerT, UserT, AuthT, State]) -> str:
    """Where a request comes from, as far as is known."""
    return connection.client.host if connection.client is not None else ""


class AuthenticationMiddleware(AbstractAuthenticationMiddleware):
    """Sets `request.user`."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, exclude="^/api/schema", exclude_from_auth_key="public")

    async def authenticate_request(
        self, connection: ASGIConnection[BaseRouteHandler, Caller, object, State]
    ) -> AuthenticationResult:
        """The caller of this request."""
        return AuthenticationResult(user=await identify_caller(connection), auth=None)
