"""What goes over the wire about models."""

from uuid import UUID

import msgspec

InputShape = list[int | None] | None


class GlobalModelJson(msgspec.Struct, kw_only=True):
    """A global model without its weights; `preprocessing` is the URL to fetch it from."""

    id: UUID
    round: int
    name: str
    description: str
    input_shape: InputShape
    preprocessing: str | None
    owner: UUID
    has_preprocessing: bool


class LocalModelJson(msgspec.Struct, kw_only=True):
    """A local model without its weights."""

    id: UUID
    round: int
    sample_size: int
    owner: UUID
    base_model: UUID


class GlobalModelMetadata(GlobalModelJson, kw_only=True):
    """A global model with its layer statistics."""

    stats: dict[str, object] | None


class LocalModelMetadata(LocalModelJson, kw_only=True):
    """A local model; it has no statistics of its own."""

    stats: None = None


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
