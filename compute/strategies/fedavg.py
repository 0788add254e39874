"""Federated averaging: w' = Σ n_k w_k / Σ n_k.

Source: McMahan, Moore, Ramage, Hampson & Agüera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, Algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from compute.contract import AggregationOptions
from compute.state_dicts import SLICE_ELEMENTS, StateDict, cached_elements, slices
from compute.strategies.registry import FoldState, register

_ACCUMULATE = {"float64": torch.float64, "float32": torch.float32}
_SIGNIFICANT_BITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


@dataclass
class WeightedSum(FoldState):
    """Σ n_k w_k by tensor, flat and in the accumulation dtype, and Σ n_k.

    Attributes:
        dtypes: Of the model's tensors.
    """

    sums: dict[str, Tensor]
    dtypes: dict[str, torch.dtype]
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
            sums={
                name: torch.zeros(tensor.numel(), dtype=self.sum_dtype(tensor), device=device)
                for name, tensor in base.items()
            },
            dtypes={name: tensor.dtype for name, tensor in base.items()},
        )

    def fold_(self, state: FoldState, update: StateDict, weight: int) -> None:
        """Add `weight` times the update; one slice at a time is copied and widened."""
        elements = cached_elements()
        for name, tensor in update.items():
            for number, piece in enumerate(slices(tensor, elements)):
                self.fold_piece_(state, name, number * elements, piece, weight)
        self.count_(state, weight)

    def fold_piece_(
        self, state: FoldState, name: str, start: int, piece: Tensor, weight: int
    ) -> None:
        """Add `weight` times some scalars of the update, rounding each product and each sum."""
        state = _weighted_sum(state)
        total = state.sums[name][start : start + len(piece)]
        if _is_exact(state.dtypes[name], weight, total.dtype):
            total.add_(piece.to(total.device, total.dtype), alpha=weight)
            return
        # `alpha` would round once where the processor can multiply and add in one, twice where it
        # cannot.
        weighted = piece.to(total.device, total.dtype, copy=True)
        _as_real(weighted).mul_(weight)
        total.add_(weighted)

    def weighted_sum(self, state: FoldState, name: str) -> Tensor:
        """All that folding does is to add to it."""
        return _weighted_sum(state).sums[name]

    def count_(self, state: FoldState, weight: int) -> None:
        """Add to the divisor."""
        _weighted_sum(state).total_weight += weight

    def finish(self, state: FoldState, base: StateDict) -> StateDict:
        """The weighted mean, in the memory of the sums where it fits."""
        state = _weighted_sum(state)
        if not state.total_weight:
            message = "No update was folded."
            raise ValueError(message)
        return {
            name: _narrowed_(state.sums.pop(name), state.total_weight, tensor.dtype).reshape(
                tensor.shape
            )
            for name, tensor in base.items()
        }

    def sum_dtype(self, tensor: Tensor) -> torch.dtype:
        """What a tensor of the model is accumulated in."""
        if tensor.is_complex():
            return torch.complex128
        return self._floating if tensor.is_floating_point() else torch.float64


def _narrowed_(sums: Tensor, divisor: int, dtype: torch.dtype) -> Tensor:
    """The flat sums' quotient in `dtype` on the CPU; `sums` is used up."""
    # A plain number would be multiplied by its reciprocal on a GPU.
    by = torch.tensor(divisor, dtype=_as_real(sums[:0]).dtype, device=sums.device)
    on_cpu = sums.device.type == "cpu"
    if on_cpu and not sums.is_complex() and dtype.itemsize <= sums.element_size():
        # A slice goes to memory that was read before: what is narrower lies further in front.
        result = sums.view(dtype)[: len(sums)]
    else:
        result = torch.empty(len(sums), dtype=dtype)
    start = 0
    for piece in slices(sums, cached_elements() if on_cpu else SLICE_ELEMENTS):
        _as_real(piece).div_(by)
        if not (dtype.is_floating_point or dtype.is_complex):
            piece.round_()  # half to even, as IEEE 754 has it
        result[start : start + len(piece)] = piece.to("cpu", dtype, copy=True)
        start += len(piece)
    return result


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
