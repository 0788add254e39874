"""Aggregation strategies, one paper per file, by the name that the REST API takes."""

from compute.strategies import fedavg, fedprox, median  # noqa: F401 - each registers itself
from compute.strategies.registry import (
    FoldingStrategy,
    FoldState,
    GatheringStrategy,
    make_strategy,
    strategy_names,
)

__all__ = ["FoldState", "FoldingStrategy", "GatheringStrategy", "make_strategy", "strategy_names"]
