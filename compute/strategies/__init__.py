"""Aggregation strategies, one paper per file, by the name that the REST API takes."""

from compute.strategies import fedavg, fedprox  # noqa: F401 - each registers itself
from compute.strategies.registry import FoldingStrategy, FoldState, make_strategy, strategy_names

__all__ = ["FoldState", "FoldingStrategy", "make_strategy", "strategy_names"]
