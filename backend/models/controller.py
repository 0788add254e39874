"""Models over HTTP."""

from collections.abc import Sequence
from typing import Annotated, Literal

from litestar import Controller, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.status_codes import HTTP_201_CREATED

from backend.byte_streams import ByteStream
from backend.forms import FormReader
from backend.json_bodies import is_json, read_json
from backend.models.access import find_own_global, find_upload_target
from backend.models.downloads import (
    BINARY,
    DOWNLOAD_RESPONSES,
    SAFETENSORS,
    Downloads,
    ModelFormat,
)
from backend.models.forms import SAMPLE_SIZE_LIMIT, read_parameters
from backend.models.schemas import (
    AnyModelJson,
    AnyModelMetadata,
    CreateMean,
    ModelCreated,
    ModelVersionJson,
)
from backend.models.service import ModelService
from backend.models.uploads import ModelUploads
from backend.openapi import FormField, also_answering, body_operation, form_operation
from backend.security.authentication import CallerRequest
from backend.trainings.schemas import Detail
from compute.contract import TensorEncoding

FormatQuery = Annotated[
    ModelFormat | None,
    QueryParameter(description="By default what the Accept header asks for, else the model file."),
]
EncodingQuery = Annotated[
    TensorEncoding | None,
    QueryParameter(description="Of format=safetensors: the tensors in fewer bits."),
]
SafetensorsToo = also_answering(SAFETENSORS)

UPDATE_MEDIA_TYPES = (SAFETENSORS, BINARY)
MODEL_FILES = ("model_file", "model_preprocessing_file")
MOMENT_FILES = ("first_moment_file", "second_moment_file")

ModelUpload = form_operation(
    FormField("name", required=True),
    FormField("description", required=True),
    FormField("model_file", kind="resumable file", required=True),
    FormField("model_preprocessing_file", kind="resumable file"),
    FormField("input_shape", repeated=True),
    FormField("type"),
    FormField("round", kind="integer"),
    json_fields=(
        FormField("type", required=True),
        FormField("name", required=True),
        FormField("description", required=True),
        FormField("models", repeated=True, required=True),
        FormField("input_shape", kind="any"),
    ),
)
UpdateUpload = form_operation(
    FormField("round", kind="integer", required=True),
    FormField("sample_size", kind="integer", required=True),
    FormField("model_file", kind="resumable file", required=True),
    FormField("metric_names", repeated=True),
    FormField("metric_values", repeated=True),
    FormField("owner"),
)
MomentsUpload = form_operation(
    FormField("round", kind="integer", required=True),
    FormField("sample_size", kind="integer", required=True),
    FormField("first_moment_file", kind="resumable file", required=True),
    FormField("second_moment_file", kind="resumable file", required=True),
)
NativeUpdateUpload = body_operation(*UPDATE_MEDIA_TYPES)
PreprocessingUpload = form_operation(
    FormField("model_preprocessing_file", kind="resumable file", required=True)
)


class ModelController(Controller):
    """Upload, look, download, delete."""

    path = "/api/models"
    tags = ("models",)

    @post("/", operation_class=ModelUpload, request_max_body_size=None)
    async def upload(
        self,
        request: CallerRequest,
        uploads: NamedDependency[ModelUploads],
        forms: NamedDependency[FormReader],
    ) -> ModelCreated:
        """Upload a global model; or, with a JSON body, make a mean model of several."""
        if is_json(request):
            order = await read_json(request, CreateMean, limit_bytes=forms.max_body_bytes)
            model_id = await uploads.add_mean(order, request.user)
        else:
            async with forms.uploads(request, *MODEL_FILES) as form:
                model_id = await uploads.add_model(form, request.user)
        return ModelCreated("Model Upload Accepted", model_id)

    @post("/{model_id:str}/", operation_class=UpdateUpload, request_max_body_size=None)
    async def upload_update(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        uploads: NamedDependency[ModelUploads],
        forms: NamedDependency[FormReader],
    ) -> Detail:
        """Upload a local model: a participant's update of the global model in the open round."""
        target = await forms.drained(request, find_upload_target(model_id, request.user))
        async with forms.uploads(request, "model_file") as form:
            await uploads.add_update(target, form, request.user)
        return Detail("Model Update Accepted")

    @put(
        "/{model_id:str}/updates/{round:int}/",
        operation_class=NativeUpdateUpload,
        request_max_body_size=None,
        status_code=HTTP_201_CREATED,
    )
    async def upload_native_update(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        round: FromPath[int],
        sample_size: Annotated[int, QueryParameter(ge=1, lt=SAMPLE_SIZE_LIMIT)],
        uploads: NamedDependency[ModelUploads],
        forms: NamedDependency[FormReader],
        metric_names: FromQuery[list[str] | None] = None,
        metric_values: FromQuery[list[str] | None] = None,
    ) -> Detail:
        """Upload a local model as the whole body: a state dict in safetensors.

        It is an update like one in a form, without the work that a form takes.
        """
        target = await forms.drained(request, find_upload_target(model_id, request.user))
        fields = read_parameters(round, sample_size, metric_names or [], metric_values or [])
        async with forms.body(request, media_types=UPDATE_MEDIA_TYPES) as staged:
            await uploads.add_native_update(target, fields, staged, request.user)
        return Detail("Model Update Accepted")

    @post("/{model_id:str}/swag/", operation_class=MomentsUpload, request_max_body_size=None)
    async def upload_moments(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        uploads: NamedDependency[ModelUploads],
        forms: NamedDependency[FormReader],
    ) -> Detail:
        """Upload the SWAG moments of a participant's own iterates in the open SWAG round."""
        target = await forms.drained(request, find_upload_target(model_id, request.user))
        async with forms.uploads(request, *MOMENT_FILES) as form:
            await uploads.add_moments(target, form, request.user)
        return Detail("SWAG Statistic Accepted")

    @post(
        "/{model_id:str}/preprocessing/",
        operation_class=PreprocessingUpload,
        request_max_body_size=None,
        status_code=202,
    )
    async def upload_preprocessing(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        uploads: NamedDependency[ModelUploads],
        forms: NamedDependency[FormReader],
    ) -> Detail:
        """Upload the module that inputs go through before the model."""
        model = await forms.drained(request, find_own_global(model_id, request.user))
        async with forms.uploads(request, "model_preprocessing_file") as form:
            await uploads.set_preprocessing(model, form)
        return Detail("Proprocessing Model Upload Accepted")

    @get("/")
    async def list_models(
        self, request: CallerRequest, model_service: NamedDependency[ModelService]
    ) -> list[AnyModelJson]:
        """Models that the caller owns, trains or helps to train."""
        return await model_service.list(request.user)

    @get("/{model_id:str}/metadata/")
    async def metadata(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        model_service: NamedDependency[ModelService],
    ) -> AnyModelMetadata:
        """One model with its layer statistics."""
        return await model_service.metadata(model_id, request.user)

    @get(
        "/{model_id:str}/",
        operation_class=SafetensorsToo,
        media_type=BINARY,
        responses=DOWNLOAD_RESPONSES,
    )
    async def download(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        model_service: NamedDependency[ModelService],
        downloads: NamedDependency[Downloads],
        format: FormatQuery = None,
        encoding: EncodingQuery = None,
    ) -> ByteStream:
        """The model file, in the container that was uploaded; or its tensors as safetensors."""
        return await downloads.send_weights(
            request,
            await model_service.weights(model_id, request.user),
            name=f"model-{model_id}",
            format=format,
            encoding=encoding,
        )

    @get("/{model_id:str}/versions/")
    async def list_versions(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        model_service: NamedDependency[ModelService],
    ) -> Sequence[ModelVersionJson]:
        """What the model was after each aggregation; `round` 0 is what was uploaded."""
        return await model_service.versions(model_id, request.user)

    @get(
        "/{model_id:str}/versions/{round:int}/",
        operation_class=SafetensorsToo,
        media_type=BINARY,
        responses=DOWNLOAD_RESPONSES,
    )
    async def download_version(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        round: FromPath[int],
        model_service: NamedDependency[ModelService],
        downloads: NamedDependency[Downloads],
        format: FormatQuery = None,
        encoding: EncodingQuery = None,
    ) -> ByteStream:
        """The model file as it was after `round` aggregations; 410 when it is not kept any more."""
        return await downloads.send_weights(
            request,
            await model_service.version(model_id, round, request.user),
            name=f"model-{model_id}-round-{round}",
            format=format,
            encoding=encoding,
        )

    @get("/{model_id:str}/preprocessing/", media_type=BINARY, responses=DOWNLOAD_RESPONSES)
    async def preprocessing(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        model_service: NamedDependency[ModelService],
        downloads: NamedDependency[Downloads],
    ) -> ByteStream:
        """The preprocessing module of a model."""
        digest = await model_service.preprocessing_digest(model_id, request.user)
        return await downloads.send_blob(request, digest, f"model-{model_id}-proprecessing.pt")

    @get("/{model_id:str}/swag/{moment:str}/", media_type=BINARY, responses=DOWNLOAD_RESPONSES)
    async def swag_moment(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        moment: FromPath[Literal["first", "second"]],
        model_service: NamedDependency[ModelService],
        downloads: NamedDependency[Downloads],
    ) -> ByteStream:
        """The aggregated first or second SWAG moment, a torch-saved 1-D tensor."""
        first = moment == "first"
        digest = await model_service.moment_digest(model_id, request.user, first=first)
        return await downloads.send_blob(request, digest, f"model-{model_id}-swag-{moment}.pt")

    @delete("/{model_id:str}/", status_code=200)
    async def delete_model(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        model_service: NamedDependency[ModelService],
    ) -> Detail:
        """Remove a model, and with a global one its training."""
        await model_service.delete(model_id, request.user)
        return Detail("Model removed!")
