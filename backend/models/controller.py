"""Models over HTTP."""

import asyncio
from collections.abc import AsyncIterator

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

from backend.forms import receive_form
from backend.models.schemas import (
    GlobalModelJson,
    GlobalModelMetadata,
    LocalModelJson,
    LocalModelMetadata,
    ModelCreated,
)
from backend.models.service import ModelService
from backend.openapi import FormField, form_operation
from backend.security.authentication import CallerRequest
from backend.settings import Settings
from backend.trainings.schemas import Detail
from backend.weights import Weights

MODEL_FILES = ("model_file", "model_preprocessing_file")

ModelUpload = form_operation(
    FormField("name", required=True),
    FormField("description", required=True),
    FormField("model_file", kind="file", required=True),
    FormField("model_preprocessing_file", kind="file"),
    FormField("input_shape", repeated=True),
    FormField("type"),
    FormField("round", kind="integer"),
)
UpdateUpload = form_operation(
    FormField("round", kind="integer", required=True),
    FormField("sample_size", kind="integer", required=True),
    FormField("model_file", kind="file", required=True),
    FormField("metric_names", repeated=True),
    FormField("metric_values", repeated=True),
    FormField("owner"),
)


class ModelController(Controller):
    """Upload, look, download, delete."""

    path = "/api/models"
    tags = ("models",)

    @post("/", operation_class=ModelUpload, request_max_body_size=None)
    async def upload(
        self,
        request: CallerRequest,
        models: NamedDependency[ModelService],
        weights: NamedDependency[Weights],
        settings: NamedDependency[Settings],
    ) -> ModelCreated:
        """Upload a global model."""
        async with receive_form(
            request,
            weights.blobs,
            files=MODEL_FILES,
            limit_bytes=settings.http.max_upload_bytes,
        ) as form:
            model_id = await models.upload(form, request.user)
        return ModelCreated("Model Upload Accepted", model_id)

    @post("/{model_id:str}/", operation_class=UpdateUpload, request_max_body_size=None)
    async def upload_update(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        models: NamedDependency[ModelService],
        weights: NamedDependency[Weights],
        settings: NamedDependency[Settings],
    ) -> Detail:
        """Upload a local model: a participant's update of the global model in the open round."""
        async with receive_form(
            request,
            weights.blobs,
            files=("model_file",),
            limit_bytes=settings.http.max_upload_bytes,
        ) as form:
            await models.upload_update(model_id, form, request.user)
        return Detail("Model Update Accepted")

    @get("/")
    async def list_models(
        self, request: CallerRequest, models: NamedDependency[ModelService]
    ) -> list[GlobalModelJson | LocalModelJson]:
        """Models that the caller owns, trains or helps to train."""
        return await models.list(request.user)

    @get("/{model_id:str}/metadata/")
    async def metadata(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        models: NamedDependency[ModelService],
    ) -> GlobalModelMetadata | LocalModelMetadata:
        """One model with its layer statistics."""
        return await models.metadata(model_id, request.user)

    @get("/{model_id:str}/", media_type="application/octet-stream")
    async def download(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        models: NamedDependency[ModelService],
        weights: NamedDependency[Weights],
    ) -> Stream:
        """The model file, in the container that was uploaded."""
        blob = await models.weights_of(model_id, request.user)
        name = f"model-{model_id}.pt"
        return await _download(weights, blob.digest, name)

    @get("/{model_id:str}/preprocessing/", media_type="application/octet-stream")
    async def preprocessing(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        models: NamedDependency[ModelService],
        weights: NamedDependency[Weights],
    ) -> Stream:
        """The preprocessing module of a model."""
        digest = await models.preprocessing_of(model_id, request.user)
        return await _download(weights, digest, f"model-{model_id}-proprecessing.pt")

    @delete("/{model_id:str}/", status_code=200)
    async def delete_model(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        models: NamedDependency[ModelService],
    ) -> Detail:
        """Remove a model, and with a global one its training."""
        await models.delete(model_id, request.user)
        return Detail("Model removed!")


async def _download(weights: Weights, digest: str, filename: str) -> Stream:
    size_bytes = await asyncio.to_thread(weights.blobs.size, digest)
    return Stream(
        _chunks(weights, digest),
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f'filename="{filename}"',
            "Content-Length": str(size_bytes),
            "ETag": f'"{digest}"',
        },
    )


async def _chunks(weights: Weights, digest: str) -> AsyncIterator[bytes]:
    chunks = weights.blobs.read(digest)
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk
