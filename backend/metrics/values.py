"""Metric values: a finite number, one of three non-finite ones, or bytes."""

import base64
import math
from collections.abc import Sequence
from uuid import UUID

import msgspec

from backend.db.tables import Metric
from backend.errors import InvalidRequest

MAX_NAME_LENGTH = 32
MAX_METRICS = 10_000


class MetricValue(msgspec.Struct, frozen=True):
    """A named value as it is stored; exactly one of the three is not None."""

    key: str
    number: float | None = None
    nonfinite: str | None = None
    binary: bytes | None = None


def metric_values(names: Sequence[str], values: Sequence[bytes | float]) -> list[MetricValue]:
    """Values under their names.

    Args:
        values: As sent in a form, or numbers.

    Raises:
        InvalidRequest: the lists are of unequal length, or a name is empty or too long.
    """
    if len(names) != len(values):
        raise InvalidRequest(
            f"Metric names or values are missing: {len(names)} names, {len(values)} values.",
            errors={"metric_values": ["Send one value for each of metric_names."]},
        )
    if len(names) > MAX_METRICS:
        raise InvalidRequest.field("metric_names", f"At most {MAX_METRICS} in one request.")
    for name in names:
        if not 0 < len(name) <= MAX_NAME_LENGTH or "\0" in name:
            raise InvalidRequest.field(
                "metric_names", f"{name[:40]!r} must have 1 to {MAX_NAME_LENGTH} characters."
            )
    return [_metric_value(name, value) for name, value in zip(names, values, strict=True)]


def metric_rows(
    model_id: UUID, reporter: UUID, step: int, values: Sequence[MetricValue]
) -> list[Metric]:
    """Rows to insert."""
    return [
        Metric(
            model=model_id,
            reporter=reporter,
            step=step,
            key=value.key,
            value_float=value.number,
            value_nonfinite=value.nonfinite,
            value_binary=value.binary,
        )
        for value in values
    ]


def shown_value(row: Metric) -> tuple[float | str | None, str | None]:
    """`value_float` and `value_binary` (base64) as the contract shows them."""
    return row.value_nonfinite or row.value_float, _base64(row.value_binary)


def _base64(binary: bytes | None) -> str | None:
    return None if binary is None else base64.b64encode(binary).decode()


def _metric_value(name: str, value: bytes | float) -> MetricValue:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return MetricValue(name, binary=value if isinstance(value, bytes) else None)
    if math.isnan(number):
        return MetricValue(name, nonfinite="NaN")
    if math.isinf(number):
        return MetricValue(name, nonfinite="Infinity" if number > 0 else "-Infinity")
    return MetricValue(name, number=number)
