"""Metrics over HTTP."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.forms import receive_form
from backend.json_bodies import is_json, read_json
from backend.metrics.schemas import MetricJson, MetricsAccepted, ReportMetrics
from backend.metrics.service import MetricService
from backend.metrics.values import MetricValue, metric_values
from backend.models.forms import METRIC_FIELDS, read_metrics
from backend.openapi import FormField, form_operation
from backend.security.authentication import CallerRequest
from backend.settings import Settings
from backend.weights import Weights

MetricReport = form_operation(
    FormField("metric_names", repeated=True, required=True),
    FormField("metric_values", repeated=True, required=True),
)


class MetricController(Controller):
    """Figures about one model."""

    path = "/api/models/{model_id:str}/metrics"
    tags = ("metrics",)

    @get("/")
    async def list_metrics(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        metric_service: NamedDependency[MetricService],
    ) -> list[MetricJson]:
        """All metrics of the model, oldest first."""
        return await metric_service.list(model_id, request.user)

    @post("/", operation_class=MetricReport)
    async def report(
        self,
        request: CallerRequest,
        model_id: FromPath[str],
        metric_service: NamedDependency[MetricService],
        weights: NamedDependency[Weights],
        settings: NamedDependency[Settings],
    ) -> MetricsAccepted:
        """Report metrics; in a test round, each participant's first report counts as their test."""
        values = await _values(request, weights, settings)
        reported = await metric_service.report(model_id, values, request.user)
        return MetricsAccepted("Model Metrics Upload Accepted", reported)


async def _values(
    request: CallerRequest, weights: Weights, settings: Settings
) -> list[MetricValue]:
    """The metrics in a form or a JSON object."""
    limit_bytes = settings.http.max_body_bytes
    if is_json(request):
        body = await read_json(request, ReportMetrics, limit_bytes=limit_bytes)
        values = [v.encode() if isinstance(v, str) else v for v in body.metric_values]
        return metric_values(body.metric_names, values)
    async with receive_form(request, weights.blobs, limit_bytes=limit_bytes) as form:
        form.require_only(METRIC_FIELDS)
        return read_metrics(form)
