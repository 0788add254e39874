"""One pass over flat vectors that torch can do in several only, compiled.

Folding: each number is read from memory once; it is added, and its difference to the base measured,
while it is in a register. Sums have the bits that torch's own operations give, product and sum
rounded one after the other; the order in which squares are added is the processor's.

Sorting: a few columns of all rows stay in a core's first cache while all comparators go over them.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_void_p
from functools import cache, lru_cache
from typing import NamedTuple, Protocol, cast

import numba
import numpy as np
import torch
from llvmlite.ir import IRBuilder, Value
from numba.core.cgutils import voidptr_t
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numba.np.numpy_support import carray
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

# Of the sum and of everything added to it: together they stay in one core's cache.
TILE_ELEMENTS = 128 * 1024
# Columns that are sorted together: fifty rows of them are 25 KiB.
SORTED_COLUMNS = 128
# Slices of a median begin at once, and one compilation is enough.
_COMPILING = threading.Lock()
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


def _signature(accumulator: numba.types.Float) -> Signature:
    given = numba.types.Array(numba.float32, 1, "C", readonly=True)
    return numba.float64(numba.types.Array(accumulator, 1, "C"), given, given, accumulator)


def _compiled(
    function: Callable[..., object], signatures: list[Signature], fastmath: set[str]
) -> Callable[..., object]:
    """Machine code for this processor, kept on disk: making it takes a second of every process."""
    try:
        made = numba.njit(signatures, cache=True, nogil=True, fastmath=fastmath)(function)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the files, there is a way
        # No folder beside this file or at home can be written, there is no room, or what is there
        # was cut off: numba lets pass whatever its reading and writing raise.
        logger.warning("machine code is not kept: %s: %s", type(error).__name__, error)
        made = numba.njit(signatures, nogil=True, fastmath=fastmath)(function)
    return cast("Callable[..., object]", made)


# Only the order of a sum may be changed, which leaves the squares to vector instructions; products
# and sums are not contracted to one operation that rounds once.
_add_measured_compiled = cast(
    "_AddMeasured",
    _compiled(
        _add_measured,
        [_signature(numba.float64), _signature(numba.float32)],
        fastmath={"reassoc"},
    ),
)


def _pointer(_: object, address: numba.types.Type) -> tuple[Signature, Callable[..., object]]:
    def generate(_: object, builder: IRBuilder, __: object, values: Sequence[Value]) -> object:
        return builder.inttoptr(values[0], voidptr_t)

    return numba.types.voidptr(address), generate


# An address as something that `carray` makes an array of.
_as_pointer = cast("Callable[[np.int64], c_void_p]", intrinsic(_pointer))


class _AddTiles(Protocol):
    def __call__(
        self,
        tiles: NDArray[np.int64],
        lengths: NDArray[np.int64],
        weights: NDArray[_Float],
        squares: NDArray[np.float64],
    ) -> None: ...


def _add_tiles(
    tiles: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    for tile in range(len(tiles)):
        length = lengths[tile]
        total = carray(_as_pointer(tiles[tile, 0]), length, weights.dtype)
        base = carray(_as_pointer(tiles[tile, 1]), length, np.float32)
        for each in range(len(weights)):
            update = carray(_as_pointer(tiles[tile, 2 + each]), length, np.float32)
            squares[tile, each] = _add_measured_compiled(total, update, base, weights[each])


_add_tiles_compiled = cast(
    "_AddTiles",
    _compiled(
        _add_tiles,
        [
            numba.void(numba.int64[:, ::1], numba.int64[:], accumulator[::1], numba.float64[:, ::1])
            for accumulator in (numba.float64, numba.float32)
        ],
        fastmath=set(),
    ),
)


class _FindMedians(Protocol):
    def __call__(
        self,
        rows: NDArray[np.int64],
        network: NDArray[np.int64],
        medians: NDArray[np.float32],
    ) -> None: ...


def _find_medians(
    rows: NDArray[np.int64], network: NDArray[np.int64], medians: NDArray[np.float32]
) -> None:
    # Rows are where they lie, in a mapped file each: putting them together would cost a pass.
    count, length = len(rows), len(medians)
    tile = np.empty((count, SORTED_COLUMNS), np.float32)
    for start in range(0, length, SORTED_COLUMNS):
        width = min(SORTED_COLUMNS, length - start)
        for row in range(count):
            values = carray(_as_pointer(rows[row]), length, np.float32)
            tile[row, :width] = values[start : start + width]
        for comparator in range(len(network)):
            lower, upper = tile[network[comparator, 0]], tile[network[comparator, 1]]
            # A whole tile always, whatever is behind the last column: its length is known then.
            for column in range(SORTED_COLUMNS):
                left, right = lower[column], upper[column]
                lower[column] = min(right, left)
                upper[column] = max(left, right)
        low, high = tile[(count - 1) // 2], tile[count // 2]
        for column in range(width):
            # Halved first: a sum could overflow. Minus zero plus zero is zero.
            half = 0.5 * np.float64(low[column]) + 0.5 * np.float64(high[column])
            medians[start + column] = half + 0.0


@cache
def _find_medians_compiled() -> _FindMedians:
    """Made when it is first wanted: few trainings take medians. No comparator rounds anything."""
    signature = numba.void(numba.int64[::1], numba.int64[:, ::1], numba.float32[::1])
    return cast("_FindMedians", _compiled(_find_medians, [signature], fastmath=set()))


def are_sortable(rows: Sequence[Tensor]) -> bool:
    """Whether `medians` can do it."""
    return all(row.dtype == torch.float32 and row.device.type == "cpu" for row in rows)


def medians(rows: Sequence[Tensor], network: Tensor) -> Tensor:
    """The middle of every column when it is sorted; of an even number the mean of the middle two.

    Args:
        rows: Flat and of one length, float32, without NaN; not modified.
        network: Comparators, shape (comparators, 2), int64: the smaller of two rows goes to the
            first place, the larger to the second, until the middle is in its own.

    Returns:
        Flat, float32; the mean is rounded once. There is no minus zero.

    Raises:
        ValueError: the rows differ in length; they are read where they lie.
    """
    found = torch.empty(len(rows[0]), dtype=torch.float32)
    dense = [row.contiguous() for row in rows]
    if any(row.shape != found.shape for row in dense):
        raise ValueError("The rows are not of one length.")
    addresses = np.array([row.data_ptr() for row in dense], np.int64)
    with _COMPILING:
        find_medians = _find_medians_compiled()
    find_medians(addresses, network.numpy(), found.numpy())
    return found


def is_addable(total: Tensor, base: Tensor) -> bool:
    """Whether `TiledSums` can do it, which reads and writes them where they lie."""
    return (
        total.dtype in {torch.float64, torch.float32}
        and base.dtype == torch.float32
        and total.shape == base.shape
        and all(each.is_contiguous() and each.device.type == "cpu" for each in (total, base))
    )


class _Share(NamedTuple):
    """What one thread does: tiles of sums of one dtype.

    Attributes:
        places: Where each tile of the sum and of the base begins, (tiles, 2), int64 addresses.
        numbers: Of the sum that each is cut from, (tiles,), int64.
        offsets: How many scalars of it lie before, (tiles,), int64.
        lengths: In scalars, (tiles,), int64.
    """

    dtype: torch.dtype
    places: NDArray[np.int64]
    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


class TiledSums:
    """Weighted sums of updates, and the base that these are measured against.

    They are cut into tiles once, with an equal share for each of the threads that torch has.
    """

    def __init__(self, totals: Sequence[Tensor], bases: Sequence[Tensor]) -> None:
        """For each of the sums its base, `is_addable`; the sums are modified."""
        self._totals, self._bases = totals, bases
        self._shares = [
            share
            for dtype in (torch.float64, torch.float32)
            for share in self._cut(dtype, torch.get_num_threads())
        ]

    def add_(
        self, updates: Sequence[Sequence[Tensor]], weights: Sequence[int]
    ) -> list[list[float]]:
        """Add `weight` times each update to the sums, in this order.

        Args:
            updates: Of each a tensor for every sum: float32, on the CPU, of any shape.

        Returns:
            Of each update the sums of squared differences to the base by tile, in float64.

        Raises:
            ValueError: a tensor is not of its sum's length, or not float32 on the CPU.
        """
        dense = [[_aligned(tensor) for tensor in update] for update in updates]
        for update, _ in zip(dense, weights, strict=True):
            for tensor, base in zip(update, self._bases, strict=True):
                if (tensor.numel(), tensor.dtype, tensor.device) != (
                    base.numel(),
                    base.dtype,
                    base.device,
                ):
                    raise ValueError("An update is not of the base's lengths and dtype.")

        def add_share_(share: _Share) -> NDArray[np.float64]:
            return self._add_share_(share, dense, weights)

        if len(self._shares) <= 1:
            parts = [add_share_(share) for share in self._shares]
        else:
            parts = list(_pool(len(self._shares)).map(add_share_, self._shares))
        return [
            [square for part in parts for square in part[:, number].tolist()]
            for number in range(len(updates))
        ]

    def _add_share_(
        self, share: _Share, updates: Sequence[Sequence[Tensor]], weights: Sequence[int]
    ) -> NDArray[np.float64]:
        """Squares by tile and update.

        What it has addresses of is its own and its arguments': when another share fails, nothing is
        freed before this one is through.
        """
        addresses = _addresses(updates)  # (updates, sums)
        places = addresses[:, share.numbers].T + 4 * share.offsets[:, None]
        tiles = np.ascontiguousarray(np.hstack([share.places, places]))
        given = np.array([_scalar(weight, share.dtype) for weight in weights])
        squares = np.empty(places.shape, np.float64)
        _add_tiles_compiled(tiles, share.lengths, given, squares)
        return squares

    def _cut(self, dtype: torch.dtype, count: int) -> list[_Share]:
        """At most `count` shares with equally many scalars; few are not spread."""
        chosen = [number for number, total in enumerate(self._totals) if total.dtype == dtype]
        scalars = sum(self._totals[number].numel() for number in chosen)
        quota = max(TILE_ELEMENTS, -(-scalars // count))
        shares: list[list[tuple[int, int, int]]] = []
        room = 0
        for number in chosen:
            start, stop = 0, self._totals[number].numel()
            while start < stop:
                if not room:
                    shares.append([])
                    room = quota
                length = min(room, TILE_ELEMENTS, stop - start)
                shares[-1].append((number, start, length))
                room -= length
                start += length
        return [self._share(dtype, tiles) for tiles in shares]

    def _share(self, dtype: torch.dtype, tiles: list[tuple[int, int, int]]) -> _Share:
        numbers, offsets, lengths = np.array(tiles, np.int64).T
        sides = [
            _addresses([tensors])[0, numbers] + width * offsets
            for tensors, width in ((self._totals, dtype.itemsize), (self._bases, 4))
        ]
        return _Share(dtype, np.stack(sides, axis=1), numbers, offsets, lengths)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor, or a copy where its numbers cannot be read one after the other."""
    dense = tensor.contiguous()
    return dense.clone() if dense.data_ptr() % dense.element_size() else dense


def _addresses(rows: Sequence[Sequence[Tensor]]) -> NDArray[np.int64]:
    return np.array([[tensor.data_ptr() for tensor in row] for row in rows], np.int64)


@lru_cache(maxsize=1024)
def _scalar(weight: int, dtype: torch.dtype) -> _Float:
    """The weight as torch rounds it."""
    return cast("_Float", torch.tensor(weight).to(dtype).numpy()[()])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="fold")
