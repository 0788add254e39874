"""Accounts and invitations over HTTP, for superusers."""

from litestar import Controller, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from backend.accounts.schemas import (
    AccountJson,
    ChangeAccount,
    CreateInvitation,
    InvitationJson,
    NewToken,
)
from backend.accounts.service import AccountService
from backend.json_bodies import decode_json
from backend.security.authentication import CallerRequest
from backend.security.guards import requires_superuser
from backend.security.ids import parse_id
from backend.security.media_types import requires_json


class AccountController(Controller):
    """What superusers do with accounts."""

    path = "/api/accounts"
    tags = ("accounts",)
    guards = (requires_superuser,)

    @get("/")
    async def list_accounts(
        self, account_service: NamedDependency[AccountService]
    ) -> list[AccountJson]:
        """All accounts, oldest first."""
        return await account_service.list()

    @patch("/{account_id:str}/", guards=[requires_json])
    async def change(
        self,
        request: CallerRequest,
        account_id: FromPath[str],
        data: JSONBody[ChangeAccount],  # noqa: ARG002 - describes the body
        account_service: NamedDependency[AccountService],
    ) -> AccountJson:
        """Disable or enable a user, make them a superuser or not, or give them another password."""
        # Litestar has decoded it, but takes "true" and 1 for true.
        order = decode_json(await request.body(), ChangeAccount)
        return await account_service.change(account_id, order, request.user)

    @post("/{account_id:str}/token/", status_code=HTTP_200_OK)
    async def replace_token(
        self, account_id: FromPath[str], account_service: NamedDependency[AccountService]
    ) -> NewToken:
        """A user's new API token; the old one stops working."""
        return NewToken(await account_service.replace_token(parse_id("User", account_id)))


@post("/api/invitations/", tags=("accounts",), guards=[requires_superuser, requires_json])
async def invite(
    request: CallerRequest,
    data: JSONBody[CreateInvitation],  # noqa: ARG001 - describes the body
    account_service: NamedDependency[AccountService],
) -> InvitationJson:
    """An invitation: one person can register with it, once."""
    order = decode_json(await request.body(), CreateInvitation)
    return account_service.invite(order)
