"""Predictions over HTTP."""

from litestar import Response, post
from litestar.di import NamedDependency

from backend.inference.requests import read_order
from backend.inference.service import InferenceService
from backend.openapi import FormField, form_operation
from backend.security.authentication import CallerRequest
from compute.contract import ReturnFormat

PredictionInput = form_operation(
    FormField("model_id", required=True),
    FormField("model_input", kind="file", required=True),
    FormField("return_format"),
    FormField("seed", kind="integer"),
    json_fields=(
        FormField("model_id", required=True),
        FormField("model_input", kind="any", required=True),
        FormField("return_format"),
        FormField("seed", kind="integer"),
    ),
)

MEDIA_TYPES = {
    ReturnFormat.JSON: "application/json",
    ReturnFormat.BINARY: "application/octet-stream",
    ReturnFormat.SAFETENSORS: "application/octet-stream",
}


@post(
    "/api/inference/",
    operation_class=PredictionInput,
    status_code=200,
    tags=["inference"],
    any_media_type=True,
)
async def predict(
    request: CallerRequest,
    # One dependency: Litestar makes a task for each of several, at every request.
    inference: NamedDependency[InferenceService],
) -> Response[bytes]:
    """Have a model predict; the answer has the prediction and its uncertainty."""
    order = await read_order(request, inference.forms)
    prediction = await inference.predict(order, request.user)
    return Response(prediction.content, media_type=MEDIA_TYPES[order.return_format])
