"""Making a user; without PyTorch, which takes seconds to load."""

from uuid import UUID

import msgspec

from starling_client.calls import Call, fetch
from starling_client.connection import Connection
from starling_client.settings import PATIENCE_SECONDS, anonymous_line


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A new user; this is the one time that the token is told without being asked for.

    Attributes:
        id: Of the user.
        username: As it was asked for.
        token: What `join` and `Starling` take.
    """

    id: UUID
    username: str
    token: str


def register(
    url: str | None = None,
    *,
    username: str,
    password: str,
    email: str = "",
    invitation: str = "",
    patience_seconds: float = PATIENCE_SECONDS,
) -> Account:
    """Make a user on a server; its token is what `join` and `Starling` take.

    Args:
        url: By default STARLING_CLIENT_URL.
        invitation: Needed where the server registers by invitation.

    Raises:
        InvalidRequest: the name is taken, or the server says what else is wrong.
        NotAllowed: the server registers nobody without an invitation.
    """
    with Connection(anonymous_line(url, patience_seconds)) as connection:
        order = {
            "username": username,
            "password": password,
            "email": email,
            "invitation": invitation,
        }
        given = {name: value for name, value in order.items() if value}
        call = Call("POST", "/api/users/", json=given, repeatable=False)
        return connection.run(fetch(call, Account))
