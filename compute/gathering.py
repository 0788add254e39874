"""All updates of a round at once, slice by slice, so that memory is that of slices and a model."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from compute.folding import Staging, Weighted
from compute.state_dicts import StateDict
from compute.strategies import GatheringStrategy

# Of every thread: the working copies of its slice stay in a core's cache of 2 MiB where they can,
# and operations are no shorter than it takes to call one.
SLICE_BYTES = 2 * 1024**2
MIN_SLICE_ELEMENTS = 2**13
# torch works on a slice of at most so many elements in the thread that asks for it.
MAX_SLICE_ELEMENTS = 2**15
DEVICE_SLICE_BYTES = 512 * 1024**2


class _Slice(NamedTuple):
    """A range of a flat tensor."""

    name: str
    start: int
    stop: int


def gather(
    strategy: GatheringStrategy, base: StateDict, updates: Sequence[Weighted], device: torch.device
) -> StateDict:
    """The new model on the CPU, with the base's names, shapes and dtypes.

    Args:
        updates: Of the base's names, shapes and dtypes, in a fixed order; may map files.
        device: Where to compute; on the CPU, every core takes the next slice.

    Raises:
        ValueError: there are no updates.
    """
    if not updates:
        message = "No update was gathered."
        raise ValueError(message)
    flats = [
        {name: tensor.reshape(-1) for name, tensor in update.tensors.items()} for update in updates
    ]
    weights = [update.weight for update in updates]
    result = {
        name: torch.empty(tensor.numel(), dtype=tensor.dtype) for name, tensor in base.items()
    }

    def gather_slice(piece: _Slice) -> None:
        name, start, stop = piece
        rows = [flat[name][start:stop] for flat in flats]
        result[name][start:stop] = strategy.gather(rows, weights)

    if device.type == "cuda":
        _gather_on(device, strategy, flats, weights, result)
    else:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), "gather") as threads:
            for _ in threads.map(gather_slice, _slices(base, len(updates))):
                pass  # raises what the thread raised
    return {name: tensor.reshape(base[name].shape) for name, tensor in result.items()}


def _gather_on(
    device: torch.device,
    strategy: GatheringStrategy,
    flats: Sequence[StateDict],
    weights: Sequence[int],
    result: StateDict,
) -> None:
    staging = Staging(device)
    try:
        for name, tensor in result.items():
            elements = max(1, DEVICE_SLICE_BYTES // (len(flats) * tensor.element_size()))
            for start in range(0, len(tensor), elements):
                stop = min(start + elements, len(tensor))
                rows = torch.empty(len(flats), stop - start, dtype=tensor.dtype, device=device)
                for row, flat in zip(rows.unbind(), flats, strict=True):
                    for offset, piece in staging.pieces(flat[name][start:stop]):
                        row[offset : offset + len(piece)] = piece
                tensor[start:stop] = strategy.gather(rows.unbind(), weights).cpu()
    finally:
        staging.wait()


def _slices(base: StateDict, count: int) -> Iterator[_Slice]:
    for name, tensor in base.items():
        fitting = SLICE_BYTES // ((count + 1) * tensor.element_size())
        elements = min(max(fitting, MIN_SLICE_ELEMENTS), MAX_SLICE_ELEMENTS)
        for start in range(0, tensor.numel(), elements):
            yield _Slice(name, start, min(start + elements, tensor.numel()))
