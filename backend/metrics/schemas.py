"""What goes over the wire about metrics."""

from uuid import UUID

import msgspec

from backend.text import Text


class MetricJson(msgspec.Struct, kw_only=True):
    """One reported value. Non-finite numbers are the strings NaN, Infinity and -Infinity."""

    id: int
    identifier: str | None
    key: str
    value_float: float | str | None
    value_binary: str | None
    step: int
    model: UUID
    reporter: UUID


class ReportMetrics(msgspec.Struct, forbid_unknown_fields=True):
    """Metrics as JSON; a value that is a text is kept as bytes unless it reads as a number."""

    metric_names: list[Text]
    metric_values: list[float | Text]


class MetricsAccepted(msgspec.Struct):
    """Answer to a report."""

    detail: str
    model_id: UUID
