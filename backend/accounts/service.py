"""Use cases of accounts, over HTTP and from the command line."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from piccolo.columns.base import Column
from piccolo.custom_types import Combinable

from backend.accounts.schemas import (
    AccountJson,
    ChangeAccount,
    CreateInvitation,
    InvitationJson,
)
from backend.db.engine import Database
from backend.db.tables import User
from backend.errors import Conflict, NotFound
from backend.security.caller import Caller
from backend.security.ids import parse_id
from backend.security.invitations import new_invitation
from backend.security.passwords import hash_password
from backend.security.sessions import end_sessions
from backend.security.tokens import derive_token, hash_token
from backend.settings import DEFAULT_HASHING, PasswordHashing
from backend.users.service import user_json
from backend.users.superusers import require_another_superuser

REGISTER_PATH = "/#/register"
_UNSET = msgspec.UNSET


class AccountService:
    """Shows accounts, and changes what their users sign in with and whether they may."""

    def __init__(
        self,
        database: Database,
        secret: str,
        *,
        base_url: str,
        password_hashing: PasswordHashing = DEFAULT_HASHING,
    ) -> None:
        self._database = database
        self._secret = secret
        self._base_url = base_url
        self._password_hashing = password_hashing

    async def list(self) -> list[AccountJson]:
        """All accounts, oldest first."""
        return [_account_json(user) for user in await User.objects().order_by(User.created_at)]

    async def change(self, given_id: str, order: ChangeAccount, caller: Caller) -> AccountJson:
        """The account as changed; who is disabled or given another password is signed out.

        Raises:
            NotFound: no such user.
            Conflict: callers would lock themselves out, or nobody would be left to manage accounts.
        """
        user_id = parse_id("User", given_id)
        if user_id == caller.id:
            _require_harmless(order)
        password_hash = (
            _UNSET
            if order.password is _UNSET
            else await hash_password(order.password, self._password_hashing)
        )
        given: dict[Column | str, object] = {
            column: value
            for column, value in (
                (User.active, order.active),
                (User.superuser, order.superuser),
                (User.password_hash, password_hash),
            )
            if value is not _UNSET
        }
        async with self._database.write_transaction():
            if False in {order.active, order.superuser}:
                await require_another_superuser(user_id)
            if given:
                await User.update(given).where(User.id == user_id)
            if order.active is False or password_hash is not _UNSET:
                await end_sessions(user_id)
            user = await _find(user_id)
        return _account_json(user)

    async def set_password(
        self, user_id: UUID, password: str, *, was: str | None = None, keep: str | None = None
    ) -> bool:
        """Give a user another password, and end their sessions; their token stays.

        Args:
            was: Hash of the password that it replaces; where another one is by now, that stays.
            keep: Hash of the secret of a session that goes on.

        Returns:
            Whether it was done.
        """
        password_hash = await hash_password(password, self._password_hashing)
        replaced: Combinable = User.id == user_id
        if was is not None:
            replaced &= User.password_hash == was
        async with self._database.write_transaction():
            done = (
                await User.update({User.password_hash: password_hash})
                .where(replaced)
                .returning(User.id)
            )
            if done:
                await end_sessions(user_id, but=keep)
        return bool(done)

    async def set_active(self, user_id: UUID, *, active: bool) -> None:
        """Let a user sign in, or refuse their password, token and sessions from now on."""
        async with self._database.write_transaction():
            await User.update({User.active: active}).where(User.id == user_id)
            if not active:
                await end_sessions(user_id)

    async def token(self, user_id: UUID) -> str:
        """A user's API token. Raises `NotFound`."""
        user = await _find(user_id)
        return derive_token(self._secret, user.id, user.token_generation)

    async def replace_token(self, user_id: UUID) -> str:
        """A user's new API token; the old one stops working. Raises `NotFound`."""
        async with self._database.write_transaction():
            raised = (
                await User.update({User.token_generation: User.token_generation + 1})
                .where(User.id == user_id)
                .returning(User.token_generation)
            )
            if not raised:
                raise NotFound("User", user_id)
            token = derive_token(self._secret, user_id, raised[0]["token_generation"])
            await User.update({User.token_hash: hash_token(token)}).where(User.id == user_id)
        return token

    def invite(self, order: CreateInvitation) -> InvitationJson:
        """A new invitation."""
        now = datetime.now(UTC).replace(microsecond=0)
        lifetime = timedelta(days=order.valid_days)
        invitation = new_invitation(self._secret, lifetime, now=now)
        return InvitationJson(
            invitation=invitation,
            expires_at=now + lifetime,
            url=f"{self._base_url}{REGISTER_PATH}?invitation={invitation}",
        )


def _require_harmless(order: ChangeAccount) -> None:
    """Refuse what callers would lock themselves out with. Raises `Conflict`."""
    if order.active is False:
        raise Conflict("active: You cannot disable yourself. Another superuser can.")
    if order.superuser is False:
        raise Conflict("superuser: You cannot give up being a superuser. Another one can take it.")
    if order.password is not _UNSET:
        raise Conflict(
            "password: Change your own at /api/users/myself/password/, which asks for the current."
        )


async def _find(user_id: UUID) -> User:
    user = await User.objects().get(User.id == user_id)
    if user is None:
        raise NotFound("User", user_id)
    return user


def _account_json(user: User) -> AccountJson:
    shown = user_json(user, private=True)
    return AccountJson(
        **msgspec.structs.asdict(shown),
        superuser=user.superuser,
        active=user.active,
        created_at=user.created_at,
        last_seen_at=user.last_seen_at,
    )
