"""Federated averaging: w' = Σ n_k w_k / Σ n_k.

Source: McMahan, Moore, Ramage, Hampson & Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, Algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from compute.contract import AggregationOptions
from compute.state_dicts import StateDict, slices
from compute.strategies.registry import FoldState, register

_ACCUMULATE = {"float64": torch.float64, "float32": torch.float32}
_SIGNIFICANT_BITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


@dataclass
class WeightedSum(FoldState):
    """Σ n_k w_k by tensor, flat and in the accumulation dtype, and Σ n_k."""

    sums: dict[str, Tensor]
    total_weight: int = 0


@register("FedAvg")
class FedAvg:
    """Mean of all updates, weighted by their sample sizes.

    Floating tensors are summed in float64 (float32 by option; complex ones in their double
    counterpart). With float64 a float32 result is within 1 ulp of the exact one for up to 1,000
    updates, whatever their order. Integer and bool tensors are always averaged in float64, rounded
    half to even and cast back.

    The same updates in the same order give the same bits on any processor, GPU or number of
    threads: each operation rounds once, as IEEE 754 has it.
    """

    kind: ClassVar[Literal["folding"]] = "folding"

    def __init__(self, options: AggregationOptions) -> None:
        if options.accumulate not in _ACCUMULATE:
            message = f"accumulate must be one of {', '.join(_ACCUMULATE)}."
            raise ValueError(message)
        self._floating = _ACCUMULATE[options.accumulate]

    def init(self, base: StateDict, device: torch.device) -> WeightedSum:
        """Zeros for every tensor of the base, on `device`."""
        return WeightedSum(
            {
                name: torch.zeros(tensor.numel(), dtype=self._sum_dtype(tensor), device=device)
                for name, tensor in base.items()
            }
        )

    def fold_(self, state: FoldState, update: StateDict, weight: int) -> None:
        """Add `weight` times the update; one slice at a time is copied and widened."""
        state = _weighted_sum(state)
        for name, tensor in update.items():
            for total, piece in zip(slices(state.sums[name]), slices(tensor), strict=True):
                if _is_exact(piece.dtype, weight, total.dtype):
                    total.add_(piece.to(total.device, total.dtype), alpha=weight)
                    continue
                # `alpha` would round once where the processor can multiply and add in one, twice
                # where it cannot.
                weighted = piece.to(total.device, total.dtype, copy=True)
                _as_real(weighted).mul_(weight)
                total.add_(weighted)
        state.total_weight += weight

    def finish(self, state: FoldState, base: StateDict) -> StateDict:
        """The weighted mean; sums are let go one by one, so that memory does not peak."""
        state = _weighted_sum(state)
        if not state.total_weight:
            message = "No update was folded."
            raise ValueError(message)
        result: StateDict = {}
        for name, tensor in base.items():
            mean = state.sums.pop(name)
            numbers = _as_real(mean)
            # A plain number would be multiplied by its reciprocal on a GPU.
            numbers.div_(torch.tensor(state.total_weight, dtype=numbers.dtype, device=mean.device))
            if not (tensor.is_floating_point() or tensor.is_complex()):
                mean = mean.round_()  # half to even, as IEEE 754 has it
            result[name] = mean.to("cpu", tensor.dtype).reshape(tensor.shape)
        return result

    def _sum_dtype(self, tensor: Tensor) -> torch.dtype:
        if tensor.is_complex():
            return torch.complex128
        return self._floating if tensor.is_floating_point() else torch.float64


def _is_exact(dtype: torch.dtype, weight: int, accumulated: torch.dtype) -> bool:
    """Whether `weight` times any number of this dtype needs no rounding."""
    if dtype not in _SIGNIFICANT_BITS or accumulated not in _SIGNIFICANT_BITS:
        return False
    return _SIGNIFICANT_BITS[dtype] + weight.bit_length() <= _SIGNIFICANT_BITS[accumulated]


def _as_real(tensor: Tensor) -> Tensor:
    """The tensor, or a view of a complex one's real and imaginary parts."""
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _weighted_sum(state: FoldState) -> WeightedSum:
    if not isinstance(state, WeightedSum):
        message = f"FedAvg cannot go on from a {type(state).__name__}."
        raise TypeError(message)
    return state
