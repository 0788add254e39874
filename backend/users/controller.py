"""Users over HTTP."""

from litestar import Controller, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT

from backend.accounts.schemas import NewToken
from backend.accounts.service import AccountService
from backend.error_answers import AnyRequest
from backend.groups.schemas import GroupJson
from backend.groups.service import GroupService
from backend.json_bodies import decode_json
from backend.security.authentication import CallerRequest, address_of, find_caller
from backend.security.media_types import requires_json
from backend.sessions.schemas import ChangePassword
from backend.sessions.service import SessionService
from backend.trainings.schemas import TrainingJson
from backend.trainings.service import TrainingService
from backend.users.schemas import (
    ChangeUser,
    CreateUser,
    UserJson,
    UserWithToken,
    WebhookSecret,
)
from backend.users.service import UserService


class UserController(Controller):
    """Registration, and who is who."""

    path = "/api/users"
    tags = ("users",)

    @post("/", public=True, guards=[requires_json])
    async def create(
        self,
        request: AnyRequest,
        data: JSONBody[CreateUser],  # noqa: ARG002 - describes the body
        user_service: NamedDependency[UserService],
    ) -> UserWithToken:
        """Register a user; the answer has the API token."""
        # Litestar has decoded it, but takes "true" and 1 for true.
        order = decode_json(await request.body(), CreateUser)
        # Where anybody may register, wrong credentials hinder nobody.
        caller = None if user_service.registers_anybody else await find_caller(request)
        return await user_service.register(order, caller)

    @get("/")
    async def list_users(
        self, request: CallerRequest, user_service: NamedDependency[UserService]
    ) -> list[UserJson]:
        """All users."""
        return await user_service.list(request.user)

    @get("/myself/")
    async def myself(
        self, request: CallerRequest, user_service: NamedDependency[UserService]
    ) -> UserJson:
        """Who is calling."""
        return await user_service.myself(request.user)

    @patch("/myself/profile/", guards=[requires_json])
    async def change_myself(
        self,
        request: CallerRequest,
        data: JSONBody[ChangeUser],
        user_service: NamedDependency[UserService],
    ) -> UserJson:
        """Change one's own names, address or webhook; an empty endpoint means the feed only."""
        return await user_service.change(data, request.user)

    @get("/myself/webhook-secret/")
    async def webhook_secret(
        self, request: CallerRequest, user_service: NamedDependency[UserService]
    ) -> WebhookSecret:
        """What webhooks to the caller are signed with; a new token comes with a new one."""
        return await user_service.webhook_secret(request.user)

    @post("/myself/password/", status_code=HTTP_204_NO_CONTENT, guards=[requires_json])
    async def change_password(
        self,
        request: CallerRequest,
        data: JSONBody[ChangePassword],
        session_service: NamedDependency[SessionService],
    ) -> None:
        """Change one's own password; every other session of the caller ends."""
        await session_service.change_password(data, request.user, address_of(request))

    @post("/myself/token/", status_code=HTTP_200_OK)
    async def replace_token(
        self, request: CallerRequest, account_service: NamedDependency[AccountService]
    ) -> NewToken:
        """The caller's new API token; the old one stops working."""
        return NewToken(await account_service.replace_token(request.user.id))

    @get("/groups/")
    async def groups(
        self, request: CallerRequest, group_service: NamedDependency[GroupService]
    ) -> list[GroupJson]:
        """Groups that the caller is a member of."""
        return await group_service.list_joined(request.user)

    @get("/trainings/")
    async def trainings(
        self, request: CallerRequest, training_service: NamedDependency[TrainingService]
    ) -> list[TrainingJson]:
        """Trainings that the caller runs or takes part in."""
        return await training_service.list_joined(request.user)

    @get("/{user_id:str}/")
    async def get_user(
        self,
        user_id: FromPath[str],
        request: CallerRequest,
        user_service: NamedDependency[UserService],
    ) -> UserWithToken | UserJson:
        """One user; the caller's own token with it."""
        return await user_service.get(user_id, request.user)
