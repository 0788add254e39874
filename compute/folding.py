"""Updates added into a running sum and measured on the way: each is read from memory once.

What most models are made of, float32, goes through a compiled loop (`compute.kernels`). Of the rest
a slice of everything involved fits in the cores' caches, so that what is made of it (float64
copies, differences) never reaches memory. Updates that are folded together share the reading of the
base and the reading and writing of the sum; every coordinate still takes them one after the other,
so the sum has the same bits however they are grouped and sliced.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from compute import kernels
from compute.state_dicts import StateDict, cached_elements, is_finite, total_of
from compute.strategies import FoldingStrategy, FoldState

STAGED_BYTES = 32 * 1024**2


class Weighted(NamedTuple):
    """An update and its sample size."""

    tensors: StateDict
    weight: int


class HostFold:
    """A round's sum on the CPU, and the base that updates are measured against."""

    def __init__(self, strategy: FoldingStrategy, state: FoldState, base: StateDict) -> None:
        self._strategy = strategy
        self._state = state
        self._base = base
        compiled = {
            name: (total, flat)
            for name, tensor in base.items()
            if (total := strategy.weighted_sum(state, name)) is not None
            and kernels.is_addable(total, flat := tensor.reshape(-1))
        }
        self._compiled = list(compiled)
        self._others = [name for name in base if name not in compiled]
        self._sums = kernels.TiledSums(
            [total for total, _ in compiled.values()], [flat for _, flat in compiled.values()]
        )

    def fold_measured_(self, updates: Sequence[Weighted]) -> list[float]:
        """Add the updates in this order.

        Args:
            updates: Of the base's names, shapes and dtypes; may map files.

        Returns:
            Of each update the sum of squared differences to the base over all floating tensors, in
            float64. One that is not finite may say that the update is not; the sum is then spoilt.
        """
        squares: list[list[float]] = [[] for _ in updates]
        if self._others:
            self._fold_others_(updates, squares)
        found = self._sums.add_(
            [[update.tensors[name] for name in self._compiled] for update in updates],
            [update.weight for update in updates],
        )
        for update in updates:
            self._strategy.count_(self._state, update.weight)
        return [total_of(squared + more) for squared, more in zip(squares, found, strict=True)]

    def _fold_others_(self, updates: Sequence[Weighted], squares: list[list[float]]) -> None:
        elements = cached_elements()
        wide, wide_base = torch.empty(2, elements, dtype=torch.float64).unbind()
        strategy, state = self._strategy, self._state
        for name in self._others:
            expected = self._base[name]
            # (scalars,) each; views, unless somebody sent a tensor in another order of dimensions.
            flats = [update.tensors[name].reshape(-1) for update in updates]
            if not expected.is_floating_point():
                for flat, update in zip(flats, updates, strict=True):
                    for start, piece in _pieces(flat, elements):
                        strategy.fold_piece_(state, name, start, piece, update.weight)
                continue
            widened = strategy.sum_dtype(expected) is torch.float64
            for start, base_piece in _pieces(expected.reshape(-1), elements):
                stop = start + len(base_piece)
                theirs = wide_base[: len(base_piece)].copy_(base_piece)
                ours = wide[: len(base_piece)]
                for flat, update, squared in zip(flats, updates, squares, strict=True):
                    piece = flat[start:stop]
                    ours.copy_(piece)
                    given = ours if widened else piece
                    strategy.fold_piece_(state, name, start, given, update.weight)
                    ours.sub_(theirs)
                    squared.append(float(torch.dot(ours, ours)))


class DeviceFold:
    """The same on a GPU, which keeps the base beside the sum.

    Updates go there through two pinned buffers, each filled while the other is on its way and what
    arrived before is being added.
    """

    def __init__(
        self, strategy: FoldingStrategy, state: FoldState, base: StateDict, device: torch.device
    ) -> None:
        self._strategy = strategy
        self._state = state
        self._base = {
            name: tensor.reshape(-1).to(device)
            for name, tensor in base.items()
            if tensor.is_floating_point()
        }
        self._device = device
        self._staging = Staging(device)

    def fold_measured_(self, updates: Sequence[Weighted]) -> list[float]:
        """As on the CPU; nothing waits for the GPU before all is under way."""
        squares = torch.zeros(len(updates), dtype=torch.float64, device=self._device)
        try:
            for update, square in zip(updates, squares.unbind(), strict=True):
                self._fold_(update, square)
        finally:
            self._staging.wait()
        return [float(square) for square in squares.cpu()]

    def _fold_(self, update: Weighted, square: Tensor) -> None:
        for name, tensor in update.tensors.items():
            base = self._base.get(name)
            for start, piece in self._staging.pieces(tensor.reshape(-1)):
                self._strategy.fold_piece_(self._state, name, start, piece, update.weight)
                if base is not None:
                    difference = piece.double()
                    difference -= base[start : start + len(piece)].double()
                    square += torch.dot(difference, difference)
        self._strategy.count_(self._state, update.weight)


class Staging:
    """Two pinned buffers and two on a GPU, used in turns."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._host = [torch.empty(STAGED_BYTES, dtype=torch.uint8, pin_memory=True) for _ in "ab"]
        self._there = [torch.empty(STAGED_BYTES, dtype=torch.uint8, device=device) for _ in "ab"]
        # What used this memory before may not be through with it.
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._copied = [torch.cuda.Event() for _ in "ab"]
        self._used = [torch.cuda.Event() for _ in "ab"]
        self._turn = 0

    def pieces(self, flat: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Start and copy on the GPU of each slice; the copy is valid until the next but one.

        What is done with a slice must be given to the current stream before the next is asked for.
        """
        current = torch.cuda.current_stream(self._device)
        for start, piece in _pieces(flat, STAGED_BYTES // flat.element_size()):
            turn, self._turn = self._turn, 1 - self._turn
            self._copied[turn].synchronize()  # the pinned buffer is free again
            pinned = self._host[turn][: piece.nbytes].view(piece.dtype)
            pinned.copy_(piece)
            there = self._there[turn][: piece.nbytes].view(piece.dtype)
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(self._used[turn])
                there.copy_(pinned, non_blocking=True)
                self._copied[turn].record(self._stream)
            current.wait_event(self._copied[turn])
            yield start, there
            self._used[turn].record(current)

    def wait(self) -> None:
        """Return when no copy is under way: to be called before the buffers are let go."""
        self._stream.synchronize()


def complex_are_finite(update: StateDict) -> bool:
    """Whether that of which no squared difference is taken is finite."""
    return all(is_finite(tensor) for tensor in update.values() if tensor.is_complex())


def _pieces(flat: Tensor, elements: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(flat), elements):
        yield start, flat[start : start + elements]
