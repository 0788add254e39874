"""Groups over HTTP."""

from litestar import Controller, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody

from backend.errors import NotFound
from backend.forms import FormReader
from backend.groups.schemas import GroupFields, GroupJson, Members, require_name
from backend.groups.service import GroupService
from backend.json_bodies import is_json, read_json
from backend.openapi import FormField, form_operation
from backend.security.authentication import CallerRequest

Groups = NamedDependency[GroupService]

LARGEST_ID = 2**31 - 1

_REQUIRED_NAME = FormField("name", required=True)
_NAME = FormField("name")
NamedGroup = form_operation(_REQUIRED_NAME, json_fields=[_REQUIRED_NAME])
ChangedGroup = form_operation(_NAME, json_fields=[_NAME])


class GroupController(Controller):
    """Groups and their members."""

    path = "/api/groups"
    tags = ("groups",)

    @get("/")
    async def list_groups(self, request: CallerRequest, group_service: Groups) -> list[GroupJson]:
        """All groups; for superusers."""
        return await group_service.list_all(request.user)

    @post("/", operation_class=NamedGroup)
    async def create(
        self,
        request: CallerRequest,
        group_service: Groups,
        forms: NamedDependency[FormReader],
    ) -> GroupJson:
        """Create a group; its creator becomes a member."""
        return await group_service.create(await _fields(request, forms), request.user)

    @get("/{group_id:str}/")
    async def get_group(
        self, request: CallerRequest, group_id: FromPath[str], group_service: Groups
    ) -> GroupJson:
        """One group."""
        return await group_service.get(_id(group_id), request.user)

    @put("/{group_id:str}/", operation_class=NamedGroup)
    async def replace(
        self,
        request: CallerRequest,
        group_id: FromPath[str],
        group_service: Groups,
        forms: NamedDependency[FormReader],
    ) -> GroupJson:
        """Rename a group; the name is required."""
        number = _id(group_id)
        await group_service.get(number, request.user)
        fields = await _fields(request, forms)
        require_name(fields.name)
        return await group_service.rename(number, fields, request.user)

    @patch("/{group_id:str}/", operation_class=ChangedGroup)
    async def change(
        self,
        request: CallerRequest,
        group_id: FromPath[str],
        group_service: Groups,
        forms: NamedDependency[FormReader],
    ) -> GroupJson:
        """Rename a group, if a name is given."""
        number = _id(group_id)
        await group_service.get(number, request.user)
        fields = await _fields(request, forms)
        return await group_service.rename(number, fields, request.user)

    @delete("/{group_id:str}/", status_code=204)
    async def delete_group(
        self, request: CallerRequest, group_id: FromPath[str], group_service: Groups
    ) -> None:
        """Remove a group; its members stay users."""
        await group_service.delete(_id(group_id), request.user)

    @get("/{group_id:str}/members/")
    async def members(
        self, request: CallerRequest, group_id: FromPath[str], group_service: Groups
    ) -> Members:
        """Who is in the group, in the order of joining."""
        return await group_service.members(_id(group_id), request.user)

    @put("/{group_id:str}/members/")
    async def add_members(
        self,
        request: CallerRequest,
        group_id: FromPath[str],
        data: JSONBody[Members],
        group_service: Groups,
    ) -> Members:
        """Add users; the answer is who is in the group now."""
        return await group_service.add(_id(group_id), data.users, request.user)

    @delete("/{group_id:str}/members/", status_code=200)
    async def remove_members(
        self,
        request: CallerRequest,
        group_id: FromPath[str],
        data: JSONBody[Members],
        group_service: Groups,
    ) -> Members:
        """Remove users; the answer is who is in the group now."""
        return await group_service.remove(_id(group_id), data.users, request.user)


def _id(given: str) -> int:
    """The id of a group.

    Raises:
        NotFoundException: it is no whole number; the contract has no such path then.
        NotFound: no group can have it.
    """
    if not (given.isascii() and given.isdecimal()):
        raise NotFoundException
    if len(given) > 10 or int(given) > LARGEST_ID:
        raise NotFound("Group", given)
    return int(given)


async def _fields(request: CallerRequest, forms: FormReader) -> GroupFields:
    """The fields in a form or a JSON object."""
    if is_json(request):
        return await read_json(request, GroupFields, limit_bytes=forms.max_body_bytes)
    async with forms.fields(request) as form:
        form.require_only(GroupFields.__struct_fields__)
        name = form.text("name")
        return GroupFields() if name is None else GroupFields(name)
