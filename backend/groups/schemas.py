"""What goes over the wire about groups."""

from uuid import UUID

import msgspec

from backend.errors import InvalidRequest
from backend.text import Text

MAX_NAME_LENGTH = 150


class GroupJson(msgspec.Struct):
    """A group."""

    id: int
    name: str


class GroupFields(msgspec.Struct, forbid_unknown_fields=True):
    """What can be said about a group."""

    name: Text | msgspec.UnsetType = msgspec.UNSET


class Members(msgspec.Struct, forbid_unknown_fields=True):
    """Users of a group, or to be added to or removed from it."""

    users: list[UUID]


def require_name(name: str | msgspec.UnsetType) -> str:
    """The name of a group, without space around it.

    Raises:
        InvalidRequest: it is missing, blank or too long, in the contract's words.
    """
    if isinstance(name, msgspec.UnsetType):
        raise InvalidRequest.field("name", "This field is required.")
    stripped = name.strip()
    if not stripped:
        raise InvalidRequest.field("name", "This field may not be blank.")
    if len(stripped) > MAX_NAME_LENGTH:
        raise InvalidRequest.field(
            "name", f"Ensure this field has no more than {MAX_NAME_LENGTH} characters."
        )
    return stripped
