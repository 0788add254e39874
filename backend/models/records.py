"""Rows of global models: locked, inserted. Runs inside a write transaction."""

from uuid import UUID

from backend.db.tables import GlobalModel, ModelVersion, training_key
from backend.errors import NotFound


async def lock_model(model_id: UUID) -> GlobalModel:
    """The model, which nobody deletes until the transaction ends. Raises `NotFound`."""
    locked = (
        await GlobalModel.update({GlobalModel.id: model_id})
        .where(GlobalModel.id == model_id)
        .returning(GlobalModel.id)
    )
    model = await GlobalModel.objects().get(GlobalModel.id == model_id) if locked else None
    if model is None:
        raise NotFound("Model", model_id)
    return model


async def insert_model(model: GlobalModel) -> None:
    """Insert a global model with its first version; runs inside a write transaction."""
    await GlobalModel.insert(model)
    await ModelVersion.insert(
        ModelVersion(
            key=training_key(model.id, model.round),
            model=model.id,
            round=model.round,
            digest=model.digest,
            size_bytes=model.size_bytes,
        )
    )
