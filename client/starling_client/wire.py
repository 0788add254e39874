"""What the server answers, as far as this package reads it; unknown fields are left aside."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

import msgspec

Aggregation = Literal["FedAvg", "FedProx", "FedDC"]
"""How updates become the next model; docs/how-to/method.md says which is for what."""

Uncertainty = Literal["NONE", "ENSEMBLE", "MC_DROPOUT", "SWAG"]
"""How the uncertainty of predictions is estimated; docs/how-to/method.md compares them."""


class TrainingState(StrEnum):
    """How far a training is, as the server abbreviates it.

    Attributes:
        INITIAL: Set up, and not started.
        ONGOING: In its rounds.
        SWAG_ROUND: After them, collecting moments for SWAG.
        COMPLETED: All is done.
        FAILED: Given up by the server, or aborted by the actor.
    """

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
    """What a round waits for.

    Attributes:
        COLLECTING: Updates of participants.
        AGGREGATING: The server, which makes the next model of them.
        COLLECTING_MOMENTS: SWAG moments of participants.
        AGGREGATING_MOMENTS: The server, which makes SWAG's distribution of them.
        TESTING: Metrics that participants measure of the global model.
        CLOSED: Nothing; it is over.
    """

    COLLECTING = "collecting"
    AGGREGATING = "aggregating"
    COLLECTING_MOMENTS = "collecting_moments"
    AGGREGATING_MOMENTS = "aggregating_moments"
    TESTING = "testing"
    CLOSED = "closed"


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the server.

    Attributes:
        id: What trainings name participants by.
        username: What people call them.
        actor: They say that they run trainings; it grants nothing.
        client: They say that they take part in trainings; it grants nothing.
        message_endpoint: Where webhooks are sent to; empty: nowhere.
    """

    id: UUID
    username: str
    actor: bool = False
    client: bool = False
    message_endpoint: str = ""


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """A training and how far it is.

    Attributes:
        id: What everything else calls it by.
        state: Whether it has begun, and whether it is over.
        model: Id of its global model.
        target_num_updates: How many rounds it has.
        aggregation_method: How updates become the next model.
        uncertainty_method: How the uncertainty of predictions is estimated.
        participants: Ids of users.
        round: The present one, 0-based.
        phase: What that round waits for; None before the start.
        paused: Whether participants are asked for nothing new.
        error: Why it was given up, a sentence.
        name: Of its model.
        local_models_arrived: Updates of the present round that are there.
        local_models_expected: Updates that it has if nobody is late.
        deadline_at: When the phase ends without who is missing; None: never.
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
        id: Of the user.
        username: Of the user.
        expected: Something of theirs is waited for, or is there.
        delivered: It is there.
        last_seen_at: When they last asked the server for something; None: never.
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
    """A training in a list.

    Attributes:
        id: What `get` takes for the rest.
        state: Whether it has begun, and whether it is over.
    """

    id: UUID
    state: TrainingState


class WebhookSecret(msgspec.Struct, frozen=True):
    """What webhooks are signed with."""

    webhook_secret: str
