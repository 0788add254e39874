"""Uncertainty of predictions: measures, and one method per file by the name the REST API takes."""

from compute.uncertainty import (  # noqa: F401 - each registers itself
    deterministic,
    ensemble,
    mc_dropout,
    swag,
)
from compute.uncertainty.registry import (
    Estimate,
    Method,
    Moments,
    Sampling,
    find_method,
    method_names,
)

__all__ = ["Estimate", "Method", "Moments", "Sampling", "find_method", "method_names"]
