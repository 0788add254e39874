"""Use cases of sessions: signing in and out, and changing what one signs in with."""

import msgspec

from backend.accounts.service import AccountService
from backend.errors import InvalidRequest, NotAuthenticated
from backend.security.authentication import Authenticator
from backend.security.caller import Caller
from backend.security.credentials import WRONG_PASSWORD, PasswordCredentials
from backend.security.sessions import Sessions, csrf_token
from backend.sessions.first_run import FirstRun
from backend.sessions.schemas import ChangePassword, SessionJson, SetUp, SignIn
from backend.settings import Registration
from backend.users.service import UserService


class Begun(msgspec.Struct, frozen=True):
    """A session that has just begun.

    Attributes:
        secret: For the cookie, and nobody else.
    """

    secret: str
    session: SessionJson


class SessionService:
    """Signs people in and out."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        authenticator: Authenticator,
        users: UserService,
        accounts: AccountService,
        first_run: FirstRun,
        registration: Registration,
        version: str,
    ) -> None:
        self._sessions = sessions
        self._authenticator = authenticator
        self._users = users
        self._accounts = accounts
        self._first_run = first_run
        self._registration = registration
        self._version = version

    async def current(self, secret: str | None) -> SessionJson:
        """Who is signed in with this secret; nobody when the session is over."""
        caller = None
        if secret is not None:
            try:
                caller = await self._authenticator.identify_session(secret)
            except NotAuthenticated:
                secret = None
        return SessionJson(
            user=None if caller is None else await self._users.myself(caller),
            superuser=caller is not None and caller.superuser,
            csrf_token=None if secret is None else csrf_token(secret),
            setup_needed=await self._first_run.is_needed(),
            registration=self._registration,
            version=self._version,
        )

    async def sign_in(self, order: SignIn, address: str, *, replacing: str | None) -> Begun:
        """A new session.

        Args:
            address: Where the request comes from; failed logins are counted under it.
            replacing: Secret of the session that the browser had so far, which ends.

        Raises:
            NotAuthenticated: name or password are wrong, or the account is disabled.
            TooManyAttempts: too many logins failed from there.
        """
        credentials = PasswordCredentials(order.username, order.password)
        account = await self._authenticator.check_password(credentials, address)
        secret = await self._sessions.open(
            account.id, password_hash=account.password_hash, replacing=replacing
        )
        return await self._begun(secret)

    async def set_up(self, order: SetUp, address: str, *, replacing: str | None) -> Begun:
        """A session of the first superuser, who is made for it. Raises as `FirstRun.create`."""
        user = await self._first_run.create(order, address)
        return await self._begun(await self._sessions.open(user.id, replacing=replacing))

    async def sign_out(self, secret: str) -> None:
        """End the session with this secret, if there is one."""
        await self._sessions.end(secret)

    async def change_password(self, order: ChangePassword, caller: Caller, address: str) -> None:
        """Give the caller a new password, and end their other sessions.

        Raises:
            InvalidRequest: the current password is wrong.
            TooManyAttempts: it was too often, from there.
        """
        credentials = PasswordCredentials(caller.username, order.current_password)
        wrong = InvalidRequest.field("current_password", "This is not your current password.")
        try:
            account = await self._authenticator.check_password(credentials, address)
        except NotAuthenticated as error:
            raise wrong from error
        # A superuser may have set another one meanwhile, to keep out who has this one.
        if not await self._accounts.set_password(
            caller.id, order.new_password, was=account.password_hash, keep=caller.session
        ):
            raise wrong

    async def _begun(self, secret: str | None) -> Begun:
        if secret is None:
            # Disabled, or given another password, a moment ago.
            raise NotAuthenticated(WRONG_PASSWORD)
        return Begun(secret, await self.current(secret))
