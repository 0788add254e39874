"""What goes over the wire about models."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from backend.text import Text

InputShape = list[int | None] | None
Stats = dict[str, object] | None


class GlobalModelJson(msgspec.Struct, kw_only=True):
    """A global model without its weights.

    Attributes:
        kind: GLOBAL, SWAG or MEAN.
        preprocessing: The URL to fetch it from.
        format: Container of the model file.
        size_bytes: Of the present weights.
    """

    id: UUID
    kind: str
    round: int
    name: str
    description: str
    input_shape: InputShape
    preprocessing: str | None
    owner: UUID
    has_preprocessing: bool
    format: str
    num_parameters: int
    size_bytes: int
    created_at: datetime


class SwagModelJson(GlobalModelJson, kw_only=True):
    """A global model with SWAG moments, as the URLs to fetch them from."""

    swag_first_moment: str | None
    swag_second_moment: str | None


class MeanModelJson(GlobalModelJson, kw_only=True):
    """An ensemble; `models` are its members."""

    models: list[UUID]


class LocalModelJson(msgspec.Struct, kw_only=True):
    """A local model without its weights; `kind` is LOCAL."""

    id: UUID
    kind: str = "LOCAL"
    round: int
    sample_size: int
    owner: UUID
    base_model: UUID
    size_bytes: int
    created_at: datetime


class GlobalModelMetadata(GlobalModelJson, kw_only=True):
    """A global model with its layer statistics."""

    stats: Stats


class SwagModelMetadata(SwagModelJson, kw_only=True):
    """A SWAG model with its layer statistics."""

    stats: Stats


class MeanModelMetadata(MeanModelJson, kw_only=True):
    """A mean model; it has no statistics of its own."""

    stats: Stats


class LocalModelMetadata(LocalModelJson, kw_only=True):
    """A local model; it has no statistics of its own."""

    stats: None = None


AnyModelJson = GlobalModelJson | SwagModelJson | MeanModelJson | LocalModelJson
AnyModelMetadata = GlobalModelMetadata | SwagModelMetadata | MeanModelMetadata | LocalModelMetadata


class ModelVersionJson(msgspec.Struct, kw_only=True):
    """The weights of a global model after `round` aggregations, or what is left of them.

    Attributes:
        digest: SHA-256 of the file.
        kept: False when the weights were deleted, as the training's `keep_versions` has it.
    """

    round: int
    digest: str
    size_bytes: int
    created_at: datetime
    kept: bool


class ModelWeights(msgspec.Struct, frozen=True):
    """The blob with a model's weights, and the round that they are of."""

    digest: str
    round: int


class CreateMean(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A mean model of models that are there already."""

    type: str
    name: Text
    description: Text
    models: Annotated[list[UUID], msgspec.Meta(max_length=1_000)]
    input_shape: list[int | str | None] | str | None = None


class ModelCreated(msgspec.Struct):
    """Answer to an upload."""

    detail: str
    model_id: UUID


class UploadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a model upload, read and checked."""

    kind: str
    name: str
    description: str
    input_shape: InputShape
    round: int
