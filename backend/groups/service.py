"""Use cases of groups."""

import sqlite3
from collections.abc import Collection
from uuid import UUID

import asyncpg
import msgspec

from backend.db.engine import Database
from backend.db.tables import Group, Membership, User
from backend.errors import InvalidRequest, NotAllowed, NotFound
from backend.groups.schemas import GroupFields, GroupJson, Members, require_name
from backend.security.caller import Caller

NOT_YOURS = "You are not allowed to access this group."


class GroupService:
    """Keeps groups and their members; members and superusers may do everything with a group."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_all(self, caller: Caller) -> list[GroupJson]:
        """All groups. Raises `NotAllowed` for who is no superuser."""
        if not caller.superuser:
            raise NotAllowed("You are not allowed to access all groups.")
        return [_group_json(group) for group in await Group.objects().order_by(Group.id)]

    async def list_joined(self, caller: Caller) -> list[GroupJson]:
        """Groups that the caller is a member of."""
        joined = Membership.select(Membership.group).where(Membership.user == caller.id)
        groups = await Group.objects().where(Group.id.is_in(joined)).order_by(Group.id)
        return [_group_json(group) for group in groups]

    async def create(self, fields: GroupFields, caller: Caller) -> GroupJson:
        """A new group with the caller as its member. Raises `InvalidRequest`."""
        name = require_name(fields.name)
        async with self._database.write_transaction():
            created = (
                await Group.insert(Group(name=name))
                .on_conflict(target=Group.name, action="DO NOTHING")
                .returning(Group.id)
            )
            if not created:
                raise _taken()
            group_id: int = created[0]["id"]
            await _add(group_id, [caller.id])
        return GroupJson(group_id, name)

    async def get(self, group_id: int, caller: Caller) -> GroupJson:
        """One group. Raises `NotFound` or `NotAllowed`."""
        return _group_json(await _find(group_id, caller))

    async def rename(self, group_id: int, fields: GroupFields, caller: Caller) -> GroupJson:
        """The group under its new name; unchanged when none is given.

        Raises `NotFound`, `NotAllowed` or `InvalidRequest`.
        """
        group = await _find(group_id, caller)
        if isinstance(fields.name, msgspec.UnsetType):
            return _group_json(group)
        name = require_name(fields.name)
        try:
            async with self._database.write_transaction():
                await _guard(group_id)
                await Group.update({Group.name: name}).where(Group.id == group_id)
        except (sqlite3.IntegrityError, asyncpg.UniqueViolationError) as error:
            raise _taken() from error
        return GroupJson(group_id, name)

    async def delete(self, group_id: int, caller: Caller) -> None:
        """Remove a group, not its members. Raises `NotFound` or `NotAllowed`."""
        await _find(group_id, caller)
        async with self._database.write_transaction():
            await Group.delete().where(Group.id == group_id)

    async def members(self, group_id: int, caller: Caller) -> Members:
        """Ids of the members in the order of joining. Raises `NotFound` or `NotAllowed`."""
        await _find(group_id, caller)
        return await _members(group_id)

    async def add(self, group_id: int, users: Collection[UUID], caller: Caller) -> Members:
        """Make users members; who is one stays one.

        Raises:
            NotFound, NotAllowed: as for the group itself.
            InvalidRequest: a user does not exist.
        """
        await _find(group_id, caller)
        wanted = list(dict.fromkeys(users))
        found = await User.count().where(User.id.is_in(wanted)) if wanted else 0
        if found != len(wanted):
            message = "Not all provided users were found!"
            raise InvalidRequest(message, errors={"users": [message]})
        async with self._database.write_transaction():
            await _guard(group_id)
            await _add(group_id, wanted)
        return await _members(group_id)

    async def remove(self, group_id: int, users: Collection[UUID], caller: Caller) -> Members:
        """End the membership of users. Raises `NotFound` or `NotAllowed`."""
        await _find(group_id, caller)
        keys = [_key(group_id, user) for user in users]
        if keys:
            async with self._database.write_transaction():
                await Membership.delete().where(Membership.key.is_in(keys))
        return await _members(group_id)


async def _find(group_id: int, caller: Caller) -> Group:
    group = await Group.objects().get(Group.id == group_id)
    if group is None:
        raise NotFound("Group", group_id)
    if not caller.superuser and not await Membership.exists().where(
        Membership.key == _key(group_id, caller.id)
    ):
        raise NotAllowed(NOT_YOURS)
    return group


async def _guard(group_id: int) -> None:
    """Keep the group from being deleted until the transaction ends. Raises `NotFound`."""
    locked = (
        await Group.update({Group.name: Group.name}).where(Group.id == group_id).returning(Group.id)
    )
    if not locked:
        raise NotFound("Group", group_id)


async def _add(group_id: int, users: Collection[UUID]) -> None:
    if users:
        rows = (Membership(key=_key(group_id, u), group=group_id, user=u) for u in users)
        await Membership.insert(*rows).on_conflict(target=Membership.key, action="DO NOTHING")


async def _members(group_id: int) -> Members:
    rows = (
        await Membership.select(Membership.user)
        .where(Membership.group == group_id)
        .order_by(Membership.id)
    )
    return Members([row["user"] for row in rows])


def _taken() -> InvalidRequest:
    return InvalidRequest.field("name", "group with this name already exists.")


def _key(group_id: int, user: UUID) -> str:
    return f"{group_id}:{user.hex}"


def _group_json(group: Group) -> GroupJson:
    return GroupJson(group.id, group.name)
