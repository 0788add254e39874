"""State-dict algebra: compatibility, finiteness, distances and samples of coordinates.

Everything works on slices of at most `SLICE_ELEMENTS` scalars, so that no temporary is as large as
the tensor it is made from.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from compute.contract import Rejected, RejectionReason

StateDict = dict[str, Tensor]

SLICE_ELEMENTS = 2**20
# torch gives no thread less of an operation; five float64 slices of this size fit in 2 MiB.
ELEMENTS_PER_THREAD = 2**15


def require_compatible(update: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> None:
    """Make sure that an update can be aggregated into the model it was trained from.

    Raises:
        Rejected: INCOMPATIBLE names the first tensor (in the base's order) that is missing, has
            another shape or dtype, or that the base does not have; NOT_FINITE the first with a NaN
            or an infinity.
    """
    require_same_tensors(update, base)
    require_finite(update)


def require_same_tensors(update: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> None:
    """Raises `Rejected` as `require_compatible`, but for what is not finite: reads no numbers."""
    for name, expected in base.items():
        got = update.get(name)
        if got is None:
            raise _incompatible(f"Tensor {name} is missing.")
        if got.shape != expected.shape:
            raise _incompatible(
                f"Tensor {name} has shape {list(got.shape)}, expected {list(expected.shape)}."
            )
        if got.dtype != expected.dtype:
            raise _incompatible(
                f"Tensor {name} has dtype {_dtype(got)}, expected {_dtype(expected)}."
            )
    for name in update:
        if name not in base:
            raise _incompatible(f"Tensor {name} is not in the model.")


def require_finite(state: Mapping[str, Tensor]) -> None:
    """Raises `Rejected` with reason NOT_FINITE, naming the first tensor with a NaN or infinity."""
    for name, tensor in state.items():
        if not is_finite(tensor):
            raise Rejected(RejectionReason.NOT_FINITE, f"Tensor {name} has a NaN or an infinity.")


def is_finite(tensor: Tensor) -> bool:
    """Whether every value is finite; integers always are."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point():
        return True
    # Both extremes are finite only when everything between them is, and NaN spreads to both: one
    # pass without a mask of the tensor's size.
    return all(
        bool(torch.isfinite(torch.stack(torch.aminmax(piece))).all()) for piece in slices(tensor)
    )


def slices(tensor: Tensor, elements: int = SLICE_ELEMENTS) -> Iterator[Tensor]:
    """The tensor's scalars as flat views of at most `elements`, in order, none empty."""
    if tensor.numel():
        yield from tensor.reshape(-1).split(elements)


def cached_elements() -> int:
    """So many that what several operations in a row make of them stays in the cores' caches."""
    return ELEMENTS_PER_THREAD * torch.get_num_threads()


def squared_distance(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """Sum of squared differences over all floating tensors, in float64.

    Args:
        left: Tensors by name; names, shapes and dtypes as in `right`.
    """
    elements = cached_elements()
    wide = torch.empty(2, elements, dtype=torch.float64)
    squares: list[float] = []
    for name, tensor in left.items():
        if tensor.is_floating_point():
            for ours, theirs in zip(
                slices(tensor, elements), slices(right[name], elements), strict=True
            ):
                difference = (
                    wide[0, : len(ours)].copy_(ours).sub_(wide[1, : len(ours)].copy_(theirs))
                )
                squares.append(float(torch.dot(difference, difference)))
    return total_of(squares)


def total_of(squares: list[float]) -> float:
    """Their sum, exactly rounded; not finite when one of them is not, or it is too large."""
    total = sum(squares)
    return math.fsum(squares) if math.isfinite(total) else total


class CoordinateSample:
    """A fixed choice of floating coordinates of a model: all of them, or a seeded few.

    The same model (names, shapes, dtypes) and seed give the same choice.
    """

    def __init__(self, base: Mapping[str, Tensor], size: int, *, seed: int = 0) -> None:
        lengths = {
            name: tensor.numel() for name, tensor in base.items() if tensor.is_floating_point()
        }
        total = sum(lengths.values())
        if total > size:
            generator = torch.Generator().manual_seed(seed)
            # With replacement: a permutation would need memory for every coordinate.
            chosen = torch.randint(total, (size,), generator=generator).unique()
        else:
            chosen = torch.arange(total)
        self._indices: dict[str, Tensor] = {}
        start = 0
        for name, length in lengths.items():
            within = chosen[(chosen >= start) & (chosen < start + length)] - start
            if len(within):
                self._indices[name] = within
            start += length

    def values(self, state: Mapping[str, Tensor]) -> Tensor:
        """The state dict's numbers at the chosen coordinates: a flat float64 tensor on the CPU."""
        parts = [state[name].reshape(-1)[indices] for name, indices in self._indices.items()]
        return torch.cat([part.double() for part in parts] or [torch.zeros(0, dtype=torch.float64)])


def _incompatible(detail: str) -> Rejected:
    return Rejected(RejectionReason.INCOMPATIBLE, detail)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
