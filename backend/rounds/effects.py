"""What follows from a decision once it is committed."""

import msgspec


class Effects(msgspec.Struct):
    """Noted inside the coordinator's transaction, done after it.

    Attributes:
        told: Something is in the outbox.
        aggregate: A collection was closed: order its aggregation.
        ended: The training needs no aggregator any more.
        dropped: Blobs that may have lost their last reference.
    """

    told: bool = False
    aggregate: bool = False
    ended: bool = False
    dropped: list[str] = []
