"""What goes over the wire about users."""

from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from backend.errors import InvalidRequest
from backend.security.webhook_targets import WebhookPolicy
from backend.text import RequiredText, ShortName, Text


class CreateUser(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Registration of a user; `invitation` is needed where registration is by invitation."""

    username: ShortName
    password: RequiredText
    message_endpoint: Text = ""
    actor: bool = False
    client: bool = False
    first_name: Text = ""
    last_name: Text = ""
    email: Text = ""
    invitation: Text = ""


class ChangeUser(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What users may change about themselves; what is left out stays."""

    message_endpoint: Text | msgspec.UnsetType = msgspec.UNSET
    first_name: Text | msgspec.UnsetType = msgspec.UNSET
    last_name: Text | msgspec.UnsetType = msgspec.UNSET
    email: Text | msgspec.UnsetType = msgspec.UNSET


class UserJson(msgspec.Struct, kw_only=True):
    """A user; email and endpoint are empty for who may not see them."""

    username: str
    first_name: str
    last_name: str
    email: str
    id: UUID
    actor: bool
    client: bool
    message_endpoint: str


class UserWithToken(UserJson, kw_only=True):
    """A user as they see themselves."""

    token: str


class WebhookSecret(msgspec.Struct):
    """What the webhooks to a user are signed with, as Standard Webhooks writes it."""

    webhook_secret: str


def require_endpoint(url: str, policy: WebhookPolicy) -> None:
    """Refuse a `message_endpoint` that cannot be POSTed to.

    What a name resolves to is not asked here: it is at each delivery.

    Raises:
        InvalidRequest: it is neither empty nor an http(s) URL with a host, or spells out an address
            that no webhook goes to.
    """
    if not url:
        return
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        usable = parts.scheme in {"http", "https"} and bool(host) and parts.port != 0
    except ValueError:
        host, usable = "", False
    if not usable:
        raise InvalidRequest.field(
            "message_endpoint", "Give an http:// or https:// URL with a host, or leave it empty."
        )
    if (refusal := policy.refusal_of_host(host)) is not None:
        raise InvalidRequest.field("message_endpoint", refusal)
