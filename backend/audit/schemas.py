"""What goes over the wire about the audit log."""

from typing import Annotated
from uuid import UUID

import msgspec


class AuditEventJson(msgspec.Struct, kw_only=True):
    """One thing that happened.

    The order of the fields is part of the contract: in a line of JSON Lines, the details are the
    text between `"details":` and `,"digest":`, which is what the digest covers.
    """

    id: int
    at: Annotated[str, msgspec.Meta(description="UTC, in microseconds, as it was hashed.")]
    kind: str
    who: Annotated[UUID | None, msgspec.Meta(description="Null: the server.")]
    round: int | None
    redacted: Annotated[
        bool,
        msgspec.Meta(description="Whether the details leave out what is about other participants."),
    ]
    details: Annotated[msgspec.Raw, msgspec.Meta(description="What the kind of event has to say.")]
    digest: Annotated[
        str, msgspec.Meta(description="SHA-256 over the previous digest and the unredacted event.")
    ]
