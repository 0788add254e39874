"""Rows of models as the contract shows them."""

from uuid import UUID

import msgspec

from backend.db.tables import GlobalModel, LocalModel
from backend.models.schemas import (
    AnyModelMetadata,
    GlobalModelJson,
    GlobalModelMetadata,
    InputShape,
    LocalModelJson,
    LocalModelMetadata,
    MeanModelJson,
    MeanModelMetadata,
    Stats,
    SwagModelJson,
    SwagModelMetadata,
)


def global_json(model: GlobalModel, base_url: str) -> GlobalModelJson:
    """A global model of any kind as lists show it.

    Args:
        base_url: Of this server, without a slash at the end.
    """
    has_preprocessing = model.preprocessing_digest is not None
    url = f"{base_url}/api/models/{model.id}"
    shown = GlobalModelJson(
        id=model.id,
        kind=model.kind,
        round=model.round,
        name=model.name,
        description=model.description,
        input_shape=shape_of(model),
        preprocessing=f"{url}/preprocessing/" if has_preprocessing else None,
        owner=model.owner,
        has_preprocessing=has_preprocessing,
        format=model.format,
        num_parameters=model.num_parameters,
        size_bytes=model.size_bytes,
        created_at=model.created_at,
    )
    match model.kind:
        case "SWAG":
            trained = model.swag_first_digest is not None
            return SwagModelJson(
                **msgspec.structs.asdict(shown),
                swag_first_moment=f"{url}/swag/first/" if trained else None,
                swag_second_moment=f"{url}/swag/second/" if trained else None,
            )
        case "MEAN":
            return MeanModelJson(**msgspec.structs.asdict(shown), models=members_of(model))
        case _:
            return shown


def local_json(model: LocalModel) -> LocalModelJson:
    """A local model as lists show it."""
    return LocalModelJson(
        id=model.id,
        round=model.round,
        sample_size=model.sample_size,
        owner=model.owner,
        base_model=model.base_model,
        size_bytes=model.size_bytes,
        created_at=model.received_at,
    )


def metadata_json(model: GlobalModel | LocalModel, base_url: str) -> AnyModelMetadata:
    """A model with its statistics."""
    if isinstance(model, LocalModel):
        return LocalModelMetadata(**msgspec.structs.asdict(local_json(model)))
    shown = global_json(model, base_url)
    fields = msgspec.structs.asdict(shown)
    stats = _decoded_stats(model.stats)
    match shown:
        case SwagModelJson():
            return SwagModelMetadata(**fields, stats=stats)
        case MeanModelJson():
            return MeanModelMetadata(**fields, stats=stats)
        case _:
            return GlobalModelMetadata(**fields, stats=stats)


def members_of(model: GlobalModel) -> list[UUID]:
    """The members of a mean model; none of another."""
    return decoded_members(model.members)


def shape_of(model: GlobalModel) -> InputShape:
    """The input shape that was given with the model."""
    return decoded_shape(model.input_shape)


def to_json(value: object) -> str | None:
    """The value of a nullable JSON column."""
    return None if value is None else msgspec.json.encode(value).decode()


def decoded_shape(encoded: str | None) -> InputShape:
    """The value of the column `input_shape`."""
    return None if encoded is None else msgspec.json.decode(encoded, type=list[int | None])


def _decoded_stats(encoded: str | None) -> Stats:
    return None if encoded is None else msgspec.json.decode(encoded, type=dict[str, object])


def decoded_members(encoded: str | None) -> list[UUID]:
    """The value of the column `members`."""
    return [] if encoded is None else msgspec.json.decode(encoded, type=list[UUID])
