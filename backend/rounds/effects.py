"""What follows from a decision once it is committed."""

import msgspec

from backend.rounds.orders import Order


class Effects(msgspec.Struct):
    """Noted inside the coordinator's transaction, done after it.

    Attributes:
        told: Something is in the outbox.
        order: A collection was closed: have this made of it.
        ended: The training needs no aggregator any more.
        dropped: Blobs that may have lost their last reference.
    """

    told: bool = False
    order: Order | None = None
    ended: bool = False
    dropped: list[str] = []
