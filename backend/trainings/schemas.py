"""What goes over the wire about trainings."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from backend.metrics.series import Point
from backend.notifications.delivery import Unreachable
from backend.text import Text
from compute.contract import RoundFigures

AggregationMethod = Literal["FedAvg", "FedDC", "FedProx"]
UncertaintyMethod = Literal["NONE", "ENSEMBLE", "MC_DROPOUT", "SWAG"]

# More are registered in several requests.
UserIds = Annotated[list[UUID], msgspec.Meta(max_length=5_000)]
WholeNumber = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class CreateTraining(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A training to be set up; it starts later."""

    model_id: UUID
    target_num_updates: WholeNumber
    metric_names: Annotated[list[Text], msgspec.Meta(max_length=1_000)]
    aggregation_method: AggregationMethod
    uncertainty_method: UncertaintyMethod = "NONE"
    options: dict[str, object] = {}
    clients: UserIds = []


class Clients(msgspec.Struct, forbid_unknown_fields=True):
    """Users to register or remove as participants."""

    clients: UserIds


class TrainingCreated(msgspec.Struct):
    """Answer to a creation."""

    detail: str
    training_id: UUID


class Detail(msgspec.Struct):
    """Answer that is a sentence."""

    detail: str


class TrainingJson(msgspec.Struct, kw_only=True):
    """A training as lists show it."""

    id: UUID
    state: str
    target_num_updates: int
    last_update: datetime
    uncertainty_method: str
    aggregation_method: str
    options: dict[str, object]
    locked: bool
    model: UUID
    actor: UUID
    participants: list[UUID]
    error: str | None
    paused: bool


class TrainingProgress(TrainingJson, kw_only=True):
    """A training by itself, with the progress of its current round.

    Attributes:
        name: Of its model.
        actor_name: Username of who runs it.
    """

    name: str
    actor_name: str
    created_at: datetime
    local_models_arrived: int
    local_models_expected: int
    round: int
    phase: str | None
    deadline_at: datetime | None
    metric_names: list[str]


class MainMetric(msgspec.Struct, kw_only=True):
    """The course of one metric, newest rounds only."""

    key: str
    points: list[Point]


class TrainingOverview(TrainingProgress, kw_only=True):
    """A training as one of many, to somebody who runs it or takes part.

    Attributes:
        main_metric: The first of its metric names that has values, else the first metric; of the
            tests if there are any, else of what came with updates. See `metrics` of the training
            for whose mean it is; null: nothing has been measured.
        missing: Usernames of who is waited for, some of them; a participant sees only themselves.
        missing_count: How many are; to a participant, 1 if they are.
    """

    role: Literal["actor", "participant"]
    main_metric: MainMetric | None
    missing: list[str]
    missing_count: int


class Overview(msgspec.Struct, kw_only=True):
    """Trainings, the most recently active first.

    Attributes:
        total: How many there are, with those beyond the limit.
    """

    trainings: list[TrainingOverview]
    total: int


class ParticipantJson(msgspec.Struct, kw_only=True):
    """A participant of a training, and how they stand in its open round.

    Attributes:
        expected: The open round waits for something of theirs, or has it.
        delivered: They delivered what the open round waits for.
        unreachable: Their webhook does not take what it is sent; null while it does, and for who
            has none.
        delivered_at: When that was accepted; null: not yet.
        last_seen_at: Last request with their credentials, to the minute; or, if that is later, when
            they delivered.
    """

    id: UUID
    username: str
    registered_at: datetime
    expected: bool
    delivered: bool
    delivered_at: datetime | None
    unreachable: Unreachable | None
    last_seen_at: datetime | None


class RoundUpdateJson(msgspec.Struct, kw_only=True):
    """An update that was accepted in a round; `id` is its key in the figures."""

    id: UUID
    owner: UUID
    sample_size: int
    received_at: datetime


class RoundJson(msgspec.Struct, kw_only=True):
    """A round of a training.

    Attributes:
        deadline_at: Of the present phase; null: it waits for ever, or for nobody.
        extended: The deadline was moved once, for there was no quorum.
        cohort: Who was drawn; null: every participant.
        delivered: How many updates were accepted.
        updates: These, in order of arrival; for participants, their own only.
        figures: Of the aggregation, by update; null before it, and for participants.
    """

    index: int
    phase: str
    opened_at: datetime
    closed_at: datetime | None
    aggregated_at: datetime | None
    deadline_at: datetime | None
    extended: bool
    cohort: list[UUID] | None
    delivered: int
    updates: list[RoundUpdateJson]
    figures: RoundFigures | None
