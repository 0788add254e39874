"""Who is behind a request."""

from uuid import UUID

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """The user behind a request.

    Attributes:
        session: Hash of the secret of the session that they are signed in with; None: a header.
    """

    id: UUID
    username: str
    superuser: bool
    session: str | None = None
