"""What goes over the wire about demo data."""

from uuid import UUID

import msgspec


class DummyCredentials(msgspec.Struct):
    """How to sign in as the actor of the demo training."""

    username: str
    password: str
    token: str


class DummyCreated(msgspec.Struct):
    """What was created."""

    message: str
    training_uuid: UUID
    user_uuid: UUID
    user_credentials: DummyCredentials
    participants: list[UUID]
