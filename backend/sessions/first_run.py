"""The first superuser, made by who can read what the server prints."""

import hmac
import logging
import secrets

from backend.errors import Conflict, NotAllowed
from backend.security.login_limits import LoginLimits
from backend.sessions.schemas import SetUp
from backend.users.schemas import CreateUser, UserJson
from backend.users.service import UserService
from backend.users.superusers import has_superuser

logger = logging.getLogger(__name__)

CODE_BYTES = 16
SETUP_PATH = "/#/setup"
# Wrong codes are counted under it; no user can have this name.
_COUNTED_AS = "\0setup"


class FirstRun:
    """Makes the first superuser for who has the code, which is only known while there is none.

    The code lives in this process: a restarted server has another one.
    """

    def __init__(self, users: UserService, *, base_url: str) -> None:
        self._users = users
        self._base_url = base_url
        self._code = secrets.token_urlsafe(CODE_BYTES)
        self._limits = LoginLimits()
        # Once there is a superuser, there always is: nothing takes the last one away.
        self._is_over = False

    async def announce(self) -> None:
        """Tell the operator where to go, if there is no superuser yet."""
        if await self.is_needed():
            logger.info(
                "Open %s%s?code=%s to create the first superuser.",
                self._base_url,
                SETUP_PATH,
                self._code,
            )

    async def is_needed(self) -> bool:
        """Whether there is no superuser yet."""
        if not self._is_over:
            self._is_over = await has_superuser()
        return not self._is_over

    async def create(self, order: SetUp, address: str) -> UserJson:
        """The first superuser.

        Args:
            address: Where the request comes from; wrong codes are counted under it.

        Raises:
            Conflict: there is a superuser.
            NotAllowed: the code is wrong.
            TooManyAttempts: too many were, from there.
            InvalidRequest: as for `UserService.create`.
        """
        if not await self.is_needed():
            raise Conflict("There is a superuser already. Sign in, or ask them.")
        await self._limits.require_open(_COUNTED_AS, address)
        if not hmac.compare_digest(order.code.strip().encode(), self._code.encode()):
            await self._limits.failed(_COUNTED_AS, address)
            raise NotAllowed(
                "The setup code is not what the server printed when it started; it prints another "
                "one at each start."
            )
        return await self._users.create_first_superuser(
            CreateUser(
                username=order.username,
                password=order.password,
                first_name=order.first_name,
                last_name=order.last_name,
                email=order.email,
            )
        )
