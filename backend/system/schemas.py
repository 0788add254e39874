"""What goes over the wire about the server itself."""

import msgspec


class Liveness(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Whether each part works; a sentence about each that does not."""

    status: str
    database: str
    blob_store: str
    compute: str
