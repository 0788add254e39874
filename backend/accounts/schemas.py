"""What goes over the wire about accounts."""

from datetime import datetime
from typing import Annotated

import msgspec

from backend.text import RequiredText
from backend.users.schemas import UserJson

MAX_INVITATION_DAYS = 365


class AccountJson(UserJson, kw_only=True):
    """A user as superusers see them.

    Attributes:
        active: False: they cannot sign in.
        last_seen_at: To the minute; None: never.
    """

    superuser: bool
    active: bool
    created_at: datetime
    last_seen_at: datetime | None


class ChangeAccount(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What superusers may change about others; what is left out stays."""

    active: bool | msgspec.UnsetType = msgspec.UNSET
    superuser: bool | msgspec.UnsetType = msgspec.UNSET
    password: RequiredText | msgspec.UnsetType = msgspec.UNSET


class NewToken(msgspec.Struct):
    """An API token that replaces the one before."""

    token: str


class CreateInvitation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """How long an invitation can be used."""

    valid_days: Annotated[int, msgspec.Meta(ge=1, le=MAX_INVITATION_DAYS)] = 7


class InvitationJson(msgspec.Struct, kw_only=True):
    """An invitation, with which one person can register once, and a page to do it on."""

    invitation: str
    expires_at: datetime
    url: str
