"""Users over HTTP."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from backend.security.authentication import CallerRequest
from backend.security.media_types import requires_json
from backend.trainings.schemas import TrainingJson
from backend.trainings.service import TrainingService
from backend.users.schemas import CreateUser, UserJson, UserWithToken
from backend.users.service import UserService


class UserController(Controller):
    """Registration, and who is who."""

    path = "/api/users"
    tags = ("users",)

    @post("/", public=True, guards=[requires_json])
    async def create(
        self, data: JSONBody[CreateUser], users: NamedDependency[UserService]
    ) -> UserWithToken:
        """Register a user; the answer has the API token."""
        return await users.create(data)

    @get("/")
    async def list_users(
        self, request: CallerRequest, users: NamedDependency[UserService]
    ) -> list[UserJson]:
        """All users."""
        return await users.list(request.user)

    @get("/myself/")
    async def myself(self, request: CallerRequest, users: NamedDependency[UserService]) -> UserJson:
        """Who is calling."""
        return await users.myself(request.user)

    @get("/trainings/")
    async def trainings(
        self, request: CallerRequest, trainings: NamedDependency[TrainingService]
    ) -> list[TrainingJson]:
        """Trainings that the caller runs or takes part in."""
        return await trainings.list_joined(request.user)

    @get("/{user_id:str}/")
    async def get_user(
        self, user_id: FromPath[str], request: CallerRequest, users: NamedDependency[UserService]
    ) -> UserWithToken | UserJson:
        """One user; the caller's own token with it."""
        return await users.get(user_id, request.user)
