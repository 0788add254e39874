"""Reads the multipart fields of model and update uploads."""

import msgspec

from backend.errors import InvalidRequest
from backend.forms import Form
from backend.metrics.values import MetricValue, metric_values
from backend.models.schemas import InputShape, UploadedModel

MODEL_FIELDS = ("name", "description", "input_shape", "type", "round")
METRIC_FIELDS = ("metric_names", "metric_values")
UPDATE_FIELDS = ("round", "sample_size", "owner", *METRIC_FIELDS)
MOMENT_FIELDS = ("round", "sample_size", "owner")
KINDS = ("GLOBAL", "SWAG")

MAX_NAME_LENGTH = 256
SAMPLE_SIZE_LIMIT = 2**53  # what float64 counts exactly
ROUND_LIMIT = 2**31
MAX_DIMENSIONS = 16
FREE_DIMENSION = ("none", "null")


class UploadedMoments(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an upload of SWAG moments, read and checked."""

    round: int
    sample_size: int


class UploadedUpdate(UploadedMoments, frozen=True, kw_only=True):
    """The fields of an update upload, read and checked."""

    metrics: list[MetricValue]


def read_model(form: Form) -> UploadedModel:
    """The fields that describe a new global model.

    Raises:
        InvalidRequest: a field is missing, unknown or has a value that cannot be.
    """
    form.file("model_file")
    form.require_only(MODEL_FIELDS)
    name = form.required_text("name")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidRequest.field("name", f"At most {MAX_NAME_LENGTH} characters.")
    kind = (form.text("type") or "GLOBAL").upper()
    if kind not in KINDS:
        raise InvalidRequest.field("type", f"Must be one of: {', '.join(KINDS)}.")
    return UploadedModel(
        kind=kind,
        name=name,
        description=form.required_text("description"),
        input_shape=read_shape(form.texts("input_shape")),
        round=form.whole_number("round", minimum=0) if "round" in form.fields else 0,
    )


def read_update(form: Form) -> UploadedUpdate:
    """The fields that come with an update.

    Raises:
        InvalidRequest: a field is missing, unknown or has a value that cannot be.
    """
    form.file("model_file")
    form.require_only(UPDATE_FIELDS)
    return UploadedUpdate(
        round=form.whole_number("round", minimum=0),
        sample_size=form.whole_number("sample_size", minimum=1, limit=SAMPLE_SIZE_LIMIT),
        metrics=read_metrics(form),
    )


def read_moments(form: Form) -> UploadedMoments:
    """The fields that come with SWAG moments.

    Raises:
        InvalidRequest: a field is missing, unknown or has a value that cannot be.
    """
    form.file("first_moment_file")
    form.file("second_moment_file")
    form.require_only(MOMENT_FIELDS)
    return UploadedMoments(
        round=form.whole_number("round", minimum=0),
        sample_size=form.whole_number("sample_size", minimum=1, limit=SAMPLE_SIZE_LIMIT),
    )


def read_metrics(form: Form) -> list[MetricValue]:
    """Repeated `metric_names` and `metric_values`; values stay bytes until known to be numbers."""
    return metric_values(form.texts("metric_names"), form.fields.get("metric_values", []))


def read_parameters(
    round: int, sample_size: int, metric_names: list[str], metric_values_given: list[str]
) -> UploadedUpdate:
    """What comes with an update whose body is its file, from path and query.

    Raises:
        InvalidRequest: there is no such round, or the metrics are not pairs.
    """
    if not 0 <= round < ROUND_LIMIT:
        raise InvalidRequest.field("round", f"{round} is out of range: at least 0.")
    values = [value.encode() for value in metric_values_given]
    return UploadedUpdate(
        round=round, sample_size=sample_size, metrics=metric_values(metric_names, values)
    )


def read_shape(texts: list[str]) -> InputShape:
    """The shape in a repeated field: one entry per dimension, none or a single None for no shape.

    Raises:
        InvalidRequest: an entry is neither a positive integer nor None.
    """
    shape = [_dimension(text) for text in texts]
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidRequest.field("input_shape", f"At most {MAX_DIMENSIONS} dimensions.")
    return None if shape in ([], [None]) else shape


def read_json_shape(given: list[int | str | None] | str | None) -> InputShape:
    """The shape in a JSON field, whose entries may be texts. Raises `InvalidRequest`."""
    if given is None:
        return None
    entries = [given] if isinstance(given, str) else given
    return read_shape([str(entry) for entry in entries])


def _dimension(text: str) -> int | None:
    if text.strip().lower() in FREE_DIMENSION:
        return None
    try:
        size = int(text)
    except ValueError:
        size = 0
    if not 0 < size < 2**31:
        raise InvalidRequest.field(
            "input_shape",
            f"{text[:40]!r} is no dimension. Repeat the field once per dimension, with a positive "
            "integer, or None for a free one.",
        )
    return size
