"""What goes over the wire about trainings."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from backend.text import Text

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


class TrainingProgress(TrainingJson, kw_only=True):
    """A training by itself, with the progress of its current round."""

    local_models_arrived: int
    local_models_expected: int
    round: int
    phase: str | None
    metric_names: list[str]
