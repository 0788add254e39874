"""Use cases of users."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import msgspec
from piccolo.columns.base import Column

from backend.db.engine import Database
from backend.db.tables import Participant, Training, UsedInvitation, User
from backend.errors import InvalidRequest, NotAllowed, NotFound
from backend.security.caller import Caller
from backend.security.ids import parse_id
from backend.security.invitations import Invitation, read_invitation
from backend.security.passwords import hash_password
from backend.security.tokens import derive_token, hash_token
from backend.security.webhook_signatures import derive_webhook_secret
from backend.security.webhook_targets import WebhookPolicy
from backend.settings import DEFAULT_HASHING, PasswordHashing, Registration
from backend.users.schemas import (
    ChangeUser,
    CreateUser,
    UserJson,
    UserWithToken,
    WebhookSecret,
    require_endpoint,
)
from backend.users.superusers import require_no_superuser


class UserService:
    """Creates users and shows them to each other."""

    def __init__(
        self,
        database: Database,
        secret: str,
        *,
        webhooks: WebhookPolicy,
        registration: Registration = "open",
        password_hashing: PasswordHashing = DEFAULT_HASHING,
    ) -> None:
        self._database = database
        self._secret = secret
        self._webhooks = webhooks
        self._registration = registration
        self._password_hashing = password_hashing

    @property
    def registers_anybody(self) -> bool:
        """Whether it does not matter who asks for a new user."""
        return self._registration == "open"

    async def register(self, order: CreateUser, caller: Caller | None) -> UserWithToken:
        """The new user with their token, if the caller may make one.

        Args:
            caller: Who asks, where they said so.

        Raises:
            NotAllowed: registration is closed, or by invitation and this is no good one, or used.
            InvalidRequest: as for `create`.
        """
        if self.registers_anybody or (caller is not None and caller.superuser):
            return await self.create(order)
        if self._registration == "closed":
            raise NotAllowed("Registration is closed: ask the operator of this server for a user.")
        if not order.invitation:
            raise NotAllowed(
                "Registration is by invitation: ask the operator for one and send it as "
                "`invitation`."
            )
        invitation = read_invitation(self._secret, order.invitation, now=datetime.now(UTC))
        if invitation is None:
            raise NotAllowed("The invitation is not valid, or has expired.")
        return await self.create(order, provided=partial(_use_up, invitation))

    async def create_first_superuser(self, order: CreateUser) -> UserWithToken:
        """The new superuser, where there is none yet.

        Raises:
            Conflict: there is one.
            InvalidRequest: as for `create`.
        """
        return await self.create(order, superuser=True, provided=require_no_superuser)

    async def create(
        self,
        order: CreateUser,
        *,
        superuser: bool = False,
        provided: Callable[[], Awaitable[None]] | None = None,
    ) -> UserWithToken:
        """The new user with their token.

        Args:
            provided: Runs in the transaction that creates the user; what it raises undoes all.

        Raises:
            InvalidRequest: the name is taken or the endpoint unusable.
        """
        require_endpoint(order.message_endpoint, self._webhooks)
        user_id = uuid4()
        token = derive_token(self._secret, user_id, 0)
        user = User(
            id=user_id,
            username=order.username,
            password_hash=await hash_password(order.password, self._password_hashing),
            first_name=order.first_name,
            last_name=order.last_name,
            email=order.email,
            message_endpoint=order.message_endpoint,
            actor=order.actor,
            client=order.client,
            superuser=superuser,
            token_hash=hash_token(token),
        )
        async with self._database.write_transaction():
            if provided is not None:
                await provided()
            created = (
                await User.insert(user)
                .on_conflict(target=User.username, action="DO NOTHING")
                .returning(User.id)
            )
            if not created:
                # Raised inside, so that an invitation stays good for another name.
                raise InvalidRequest.field("username", "A user with that name already exists.")
        return _with_token(user, token)

    async def get(self, given_id: str, caller: Caller) -> UserJson:
        """A user as the caller may see them; with the token if it is the caller.

        Raises:
            NotFound: no such user.
        """
        user = await User.objects().get(User.id == parse_id("User", given_id))
        if user is None:
            raise NotFound("User", given_id)
        if user.id == caller.id:
            return _with_token(user, derive_token(self._secret, user.id, user.token_generation))
        contacts = await _contacts(caller)
        return user_json(user, private=caller.superuser or user.id in contacts)

    async def myself(self, caller: Caller) -> UserJson:
        """The caller, without the token."""
        user = await User.objects().get(User.id == caller.id)
        if user is None:
            raise NotFound("User", caller.id)
        return user_json(user, private=True)

    async def change(self, order: ChangeUser, caller: Caller) -> UserJson:
        """The caller as changed. What waits to be pushed goes to the new endpoint.

        Raises:
            InvalidRequest: the endpoint is unusable.
        """
        if not isinstance(order.message_endpoint, msgspec.UnsetType):
            require_endpoint(order.message_endpoint, self._webhooks)
        given: dict[Column | str, object] = {
            name: value
            for name, value in msgspec.structs.asdict(order).items()
            if value is not msgspec.UNSET
        }
        if given:
            async with self._database.write_transaction():
                await User.update(given).where(User.id == caller.id)
        return await self.myself(caller)

    async def webhook_secret(self, caller: Caller) -> WebhookSecret:
        """The key of webhooks to the caller."""
        user = await User.objects().get(User.id == caller.id)
        if user is None:
            raise NotFound("User", caller.id)
        return WebhookSecret(derive_webhook_secret(self._secret, user.id, user.token_generation))

    async def list(self, caller: Caller) -> list[UserJson]:
        """All users, oldest first."""
        contacts = await _contacts(caller)
        users = await User.objects().order_by(User.created_at)
        return [user_json(u, private=caller.superuser or u.id in contacts) for u in users]


async def _use_up(invitation: Invitation) -> None:
    """Note that the invitation is taken; runs inside a write transaction. Raises `NotAllowed`."""
    await UsedInvitation.delete().where(UsedInvitation.expires_at < datetime.now(UTC))
    row = UsedInvitation(number=invitation.number, expires_at=invitation.expires_at)
    taken = (
        await UsedInvitation.insert(row)
        .on_conflict(target=UsedInvitation.number, action="DO NOTHING")
        .returning(UsedInvitation.id)
    )
    if not taken:
        raise NotAllowed("The invitation was used before.")


async def _contacts(caller: Caller) -> set[UUID]:
    """The caller, and everybody who takes part in a training that the caller runs."""
    rows = await Participant.select(Participant.user).where(
        Participant.training.is_in(Training.select(Training.id).where(Training.actor == caller.id))
    )
    return {caller.id, *(row["user"] for row in rows)}


def user_json(user: User, *, private: bool) -> UserJson:
    """A user, with e-mail address and endpoint where `private`."""
    return UserJson(
        username=user.username,
        first_name=user.first_name,
        last_name=user.last_name,
        email=user.email if private else "",
        id=user.id,
        actor=user.actor,
        client=user.client,
        message_endpoint=user.message_endpoint if private else "",
    )


def _with_token(user: User, token: str) -> UserWithToken:
    seen = user_json(user, private=True)
    return UserWithToken(**{f: getattr(seen, f) for f in seen.__struct_fields__}, token=token)
