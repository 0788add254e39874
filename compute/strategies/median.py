"""The coordinate-wise median, which tolerates up to half of the participants being wrong.

Source: Yin, Chen, Kannan & Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", ICML 2018, Definition 1 and Algorithm 1 (option I).
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from compute import kernels
from compute.contract import AggregationOptions
from compute.strategies.registry import register


class Comparator(NamedTuple):
    """Puts the smaller of two rows at `low` and the larger at `high`, where they are wanted."""

    low: int
    high: int
    keep_low: bool
    keep_high: bool


@register("Median")
class Median:
    """Median of every coordinate; of an even number of updates the mean of the middle two.

    Sample sizes play no part. That mean is taken in float64; of integers and bools it is rounded
    half to even. Complex numbers are taken by their real and imaginary parts. Zero is positive.
    """

    kind: ClassVar[Literal["gathering"]] = "gathering"

    def __init__(self, options: AggregationOptions) -> None:
        """`accumulate` plays no part."""

    def gather(self, pieces: Sequence[Tensor], weights: Sequence[int]) -> Tensor:  # noqa: ARG002
        """The medians of a slice; takes the memory of one row more than there are pieces.

        Of float32 on a CPU it takes that of the medians.
        """
        if pieces[0].is_complex():
            parts = [torch.view_as_real(piece).reshape(-1) for piece in pieces]
            return torch.view_as_complex(_median(parts).reshape(-1, 2))
        return _median(pieces)


def _median(rows: Sequence[Tensor]) -> Tensor:
    if len(rows) > 2 and kernels.are_sortable(rows):
        return kernels.medians(rows, _pairs(len(rows)))
    low, high = _middle(rows)
    dtype = low.dtype
    if len(rows) % 2:
        return low + 0.0 if dtype.is_floating_point else low.clone()  # -0.0 + 0.0 is 0.0
    mean = low.to(torch.float64, copy=True).mul_(0.5)  # halved first: a sum could overflow
    mean.add_(high.double(), alpha=0.5)
    return mean.add_(0.0).to(dtype) if dtype.is_floating_point else mean.round_().to(dtype)


def _middle(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The one or two rows in the middle, coordinate by coordinate; perhaps a given row itself."""
    count = len(rows)
    current = list(rows)
    own = [False] * count
    spare: list[Tensor] = []

    def fresh() -> Tensor:
        return (
            spare.pop() if spare else torch.empty_like(rows[0], memory_format=torch.preserve_format)
        )

    for low, high, keep_low, keep_high in median_network(count):
        left, right = current[low], current[high]
        if keep_low and keep_high:
            current[low] = torch.minimum(left, right, out=fresh())
            # In place, where that is no longer needed and was not given.
            into = right if own[high] else left if own[low] else fresh()
            current[high] = torch.maximum(left, right, out=into)
            if own[low] and into is not left:
                spare.append(left)
        elif keep_low:
            into = left if own[low] else right if own[high] else fresh()
            current[low] = torch.minimum(left, right, out=into)
            if own[high] and into is not right:
                spare.append(right)
        else:
            into = right if own[high] else left if own[low] else fresh()
            current[high] = torch.maximum(left, right, out=into)
            if own[low] and into is not left:
                spare.append(left)
        own[low], own[high] = keep_low, keep_high
    return current[(count - 1) // 2], current[count // 2]


@lru_cache(maxsize=64)
def median_network(count: int) -> tuple[Comparator, ...]:
    """The comparators that bring the middle one or two of `count` rows to their places, in order.

    Batcher's odd-even merge sort (AFIPS 1968; Knuth, TAOCP vol. 3, 5.3.4, algorithm M) without what
    the middle does not depend on. The same for every input: no branches, whole rows at a time.
    """
    wanted = {(count - 1) // 2, count // 2}
    needed: list[Comparator] = []
    for low, high in reversed(_merge_sort(count)):
        if low in wanted or high in wanted:
            needed.append(Comparator(low, high, low in wanted, high in wanted))
            wanted |= {low, high}
    return tuple(reversed(needed))


@lru_cache(maxsize=64)
def _pairs(count: int) -> Tensor:
    """The network without what is wanted of it, which a compiled loop does not look at."""
    return torch.tensor([(low, high) for low, high, _, _ in median_network(count)])


def _merge_sort(count: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    sorted_run = 1
    while sorted_run < count:
        distance = sorted_run
        while distance >= 1:
            pairs += [
                (low, low + distance)
                for first in range(distance % sorted_run, count - distance, 2 * distance)
                for low in range(first, min(first + distance, count - distance))
                # Only within one pair of runs that are being merged.
                if low // (2 * sorted_run) == (low + distance) // (2 * sorted_run)
            ]
            distance //= 2
        sorted_run *= 2
    return pairs
