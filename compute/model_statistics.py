"""Layer statistics of a model, as torchinfo gives them."""

import logging
import math

import torch
import torchinfo
from torch import nn

logger = logging.getLogger(__name__)

MAX_INPUT_ELEMENTS = 2**28
_TOTALS = (
    "total_input",
    "total_mult_adds",
    "total_output_bytes",
    "total_param_bytes",
    "total_params",
    "trainable_params",
)
_LAYER_FIELDS = (
    "layer_id",
    "class_name",
    "depth",
    "depth_index",
    "executed",
    "var_name",
    "is_leaf_layer",
    "contains_lazy_param",
    "is_recursive",
    "input_size",
    "output_size",
    "kernel_size",
    "trainable_params",
    "num_params",
    "param_bytes",
    "output_bytes",
    "macs",
)


def layer_statistics(
    module: nn.Module, input_shape: list[int | None] | None
) -> dict[str, object] | None:
    """Sizes, parameters and operations per layer, JSON-ready; None when they cannot be computed.

    Runs one forward pass in eval mode on zeros or random numbers, floating first, then integer (for
    models that begin with an embedding).

    Args:
        input_shape: Shape of a batch; a free dimension (None) counts as 1.
    """
    if not input_shape:
        return None
    shape = [1 if size is None else size for size in input_shape]
    if math.prod(shape) > MAX_INPUT_ELEMENTS:
        return None
    for dtype in (torch.float32, torch.int64):
        try:
            summary = torchinfo.summary(
                module, input_size=[shape], dtypes=[dtype], device="cpu", verbose=0
            )
        except Exception as error:  # noqa: BLE001 - the uploaded model's own code runs here
            logger.info("No layer statistics with %s input: %s", dtype, error)
        else:
            return _as_json(summary, shape)
    return None


def _as_json(summary: torchinfo.ModelStatistics, shape: list[int]) -> dict[str, object]:
    return {
        "input_size": [shape],
        **{name: int(getattr(summary, name)) for name in _TOTALS},
        "summary_list": [
            {name: _plain(getattr(layer, name)) for name in _LAYER_FIELDS}
            for layer in summary.summary_list
        ],
    }


def _plain(value: object) -> object:
    """`value` made of JSON's own types."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value)  # type: ignore[call-overload]  # a numpy integer
