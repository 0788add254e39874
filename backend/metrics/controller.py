"""Metrics over HTTP."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.forms import FormReader
from backend.json_bodies import is_json, read_json
from backend.metrics.schemas import MetricJson, MetricsAccepted, ReportMetrics
from backend.metrics.service import MetricService
from backend.metrics.values import MetricValue, metric_values
from backend.models.forms import METRIC_FIELDS, read_metrics
from backend.openapi import FormField, form_operation
from backend.security.authentication import CallerRequest

MetricReport = form_operation(
    FormField("metric_names", repeated=True, required=True),
    FormField("metric_values", repeated=True, required=True),
    json_fields=(
        FormField("metric_names", repeated=True, required=True),
        FormField("metric_values", kind="any", repeated=True, required=True),
    ),
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
        forms: NamedDependency[FormReader],
    ) -> MetricsAccepted:
        """Report metrics; in a test round, each participant's first report counts as their test."""
        values = await _values(request, forms)
        reported = await metric_service.report(model_id, values, request.user)
        return MetricsAccepted("Model Metrics Upload Accepted", reported)


async def _values(request: CallerRequest, forms: FormReader) -> list[MetricValue]:
    """The metrics in a form or a JSON object."""
    if is_json(request):
        body = await read_json(request, ReportMetrics, limit_bytes=forms.max_body_bytes)
        values = [v.encode() if isinstance(v, str) else v for v in body.metric_values]
        return metric_values(body.metric_names, values)
    async with forms.fields(request) as form:
        form.require_only(METRIC_FIELDS)
        return read_metrics(form)
