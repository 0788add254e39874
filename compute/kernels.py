"""One pass over flat vectors that torch can do in several only; compiled when this is imported.

Each number is read from memory once: it is added, and its difference to the base measured, while it
is in a register. Sums have the bits that torch's own operations give, product and sum rounded one
after the other; the order in which squares are added is the processor's.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import chain
from typing import Protocol, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Of the sum and of everything added to it: together they stay in one core's cache.
TILE_ELEMENTS = 64 * 1024
_Float = np.float32 | np.float64


class _AddMeasured(Protocol):
    def __call__(
        self,
        total: NDArray[np.float32] | NDArray[np.float64],
        update: NDArray[np.float32],
        base: NDArray[np.float32],
        weight: _Float,
    ) -> float: ...


def _add_measured(
    total: NDArray[np.float64],
    update: NDArray[np.float32],
    base: NDArray[np.float32],
    weight: np.float64,
) -> float:
    squares = 0.0
    for place in range(len(total)):
        value = update[place]
        difference = np.float64(value) - np.float64(base[place])
        squares += difference * difference
        total[place] += weight * value
    return squares


def _signature(accumulator: numba.types.Float) -> object:
    given = numba.types.Array(numba.float32, 1, "C", readonly=True)
    return numba.float64(numba.types.Array(accumulator, 1, "C"), given, given, accumulator)


# Only the order of a sum may be changed, which leaves the squares to vector instructions; products
# and sums are not contracted to one operation that rounds once.
_compiled = cast(
    "_AddMeasured",
    numba.njit(
        [_signature(numba.float64), _signature(numba.float32)], nogil=True, fastmath={"reassoc"}
    )(_add_measured),
)


def is_foldable(total: Tensor, base: Tensor, updates: Sequence[Tensor]) -> bool:
    """Whether `fold_measured_` can add these flat tensors."""
    return total.dtype in {torch.float64, torch.float32} and all(
        tensor.dtype == torch.float32 and tensor.is_contiguous() and tensor.device.type == "cpu"
        for tensor in (base, *updates)
    )


def fold_measured_(
    total: Tensor, base: Tensor, updates: Sequence[Tensor], weights: Sequence[int]
) -> list[list[float]]:
    """Add `weight` times each update to `total`, in this order, with all of torch's threads.

    Args:
        total: (scalars,) float64 or float32, on the CPU, modified.
        base: (scalars,) float32.
        updates: Each (scalars,) float32.

    Returns:
        Of each update the sums of squared differences to the base by tile, in float64.
    """
    threads = torch.get_num_threads()
    share = -(-len(total) // threads)
    if share < TILE_ELEMENTS:
        return _fold_tiles_(total, base, updates, weights)
    bounds = [(start, min(start + share, len(total))) for start in range(0, len(total), share)]
    parts = _pool(threads).map(
        lambda part: _fold_tiles_(
            total[part[0] : part[1]],
            base[part[0] : part[1]],
            [update[part[0] : part[1]] for update in updates],
            weights,
        ),
        bounds,
    )
    return [list(chain.from_iterable(squares)) for squares in zip(*parts, strict=True)]


def _fold_tiles_(
    total: Tensor, base: Tensor, updates: Sequence[Tensor], weights: Sequence[int]
) -> list[list[float]]:
    sums = total.numpy()
    bases = base.numpy()
    weighted = [
        (update.numpy(), _scalar(weight, total.dtype))
        for update, weight in zip(updates, weights, strict=True)
    ]
    squares: list[list[float]] = [[] for _ in updates]
    for start in range(0, len(sums), TILE_ELEMENTS):
        tile = slice(start, start + TILE_ELEMENTS)
        for (update, weight), found in zip(weighted, squares, strict=True):
            found.append(_compiled(sums[tile], update[tile], bases[tile], weight))
    return squares


def _scalar(weight: int, dtype: torch.dtype) -> _Float:
    """The weight as torch rounds it."""
    return cast("_Float", torch.tensor(weight).to(dtype).numpy()[()])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="fold")
