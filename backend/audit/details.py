"""What the kinds of events that are verified have in their details."""

from uuid import UUID

import msgspec


class Created(msgspec.Struct, frozen=True):
    """Of `training_created`."""

    model: UUID
    model_digest: str
    participants: list[UUID]


class Users(msgspec.Struct, frozen=True):
    """Of `participants_registered` and `participants_removed`."""

    users: list[UUID]


class RoundOpened(msgspec.Struct, frozen=True):
    """Of `round_opened`."""

    base_digest: str


class UpdateAccepted(msgspec.Struct, frozen=True):
    """Of `update_accepted`."""

    update: UUID
    digest: str
    sample_size: int


class MomentsAccepted(msgspec.Struct, frozen=True):
    """Of `moments_accepted`."""

    moments: UUID
    first_digest: str
    second_digest: str
    sample_size: int


class FoldedUpdate(UpdateAccepted, frozen=True):
    """An update in `round_aggregated`."""

    owner: UUID


class AveragedMoments(MomentsAccepted, frozen=True):
    """Moments in `moments_aggregated`."""

    owner: UUID


class RoundAggregated(msgspec.Struct, frozen=True):
    """Of `round_aggregated`.

    Attributes:
        updates: In the order in which they were folded.
        device: What it was computed on.
        torch: The version that computed it.
    """

    base_digest: str
    strategy: str
    accumulate: str
    updates: list[FoldedUpdate]
    digest: str
    size_bytes: int
    device: str = "cpu"
    torch: str = ""


class MomentsAggregated(msgspec.Struct, frozen=True):
    """Of `moments_aggregated`; the moments in the order in which they were added."""

    base_digest: str
    moments: list[AveragedMoments]
    first_digest: str
    second_digest: str


class GivenUp(msgspec.Struct, frozen=True):
    """Of `training_failed` and `training_aborted`."""

    reason: str


class UpdateDeleted(msgspec.Struct, frozen=True):
    """Of `update_deleted`."""

    update: UUID
