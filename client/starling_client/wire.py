"""What the server answers, as far as this package reads it; unknown fields are left aside."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

Aggregation = Literal["FedAvg", "FedProx", "FedDC"]
Uncertainty = Literal["NONE", "ENSEMBLE", "MC_DROPOUT", "SWAG"]


class TrainingState(StrEnum):
    """As the server abbreviates it."""

    INITIAL = "I"
    ONGOING = "O"
    SWAG_ROUND = "S"
    COMPLETED = "C"
    FAILED = "E"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self in {TrainingState.COMPLETED, TrainingState.FAILED}


class Phase(StrEnum):
    """What a round waits for."""

    COLLECTING = "collecting"
    AGGREGATING = "aggregating"
    COLLECTING_MOMENTS = "collecting_moments"
    AGGREGATING_MOMENTS = "aggregating_moments"
    TESTING = "testing"
    CLOSED = "closed"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the server."""

    id: UUID
    username: str
    actor: bool = False
    client: bool = False
    message_endpoint: str = ""


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """A training and how far it is.

    Attributes:
        target_num_updates: How many rounds it has.
        round: The present one, 0-based.
        phase: What that round waits for; None before the start.
        error: Why it was given up, a sentence.
        metric_names: What the actor asks participants to report.
    """

    id: UUID
    state: TrainingState
    model: UUID
    target_num_updates: int
    aggregation_method: str
    uncertainty_method: str
    participants: list[UUID]
    round: int = 0
    phase: Phase | None = None
    paused: bool = False
    error: str | None = None
    name: str = ""
    local_models_arrived: int = 0
    local_models_expected: int = 0
    deadline_at: datetime | None = None
    metric_names: list[str] = []


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a participant stands in the open phase of a training.

    Attributes:
        expected: Something of theirs is waited for, or is there.
        delivered: It is there.
    """

    id: UUID
    username: str
    expected: bool
    delivered: bool
    last_seen_at: datetime | None = None


class NotificationBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a notification is about."""

    round: int | None = None
    global_model_uuid: UUID | None = None
    mu: float = 0.0
    deadline: datetime | None = None


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One notification of the feed."""

    id: int
    notification_type: str
    training_uuid: UUID
    body: NotificationBody = NotificationBody()


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence, and what else comes with a refusal."""

    detail: str = ""
    errors: dict[str, list[str]] = {}


class TrainingListed(msgspec.Struct, frozen=True, kw_only=True):
    """A training in a list."""

    id: UUID
    state: TrainingState


class WebhookSecret(msgspec.Struct, frozen=True):
    """What webhooks are signed with."""

    webhook_secret: str
