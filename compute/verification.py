"""Aggregates a round again from its blobs, and compares with what it gave, bit for bit.

Also a process of its own, so that who must not load torch can have it done:

    python -m compute.verification < orders.jsonl > answers.jsonl

It takes one `RecomputeOrder` a line and answers each with one `Recomputed`.
"""

import contextlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from compute.aggregator import Aggregator
from compute.blobs import BlobError, BlobNotFound, BlobStore, LocalBlobStore, open_blob_store
from compute.contract import (
    AggregatorSpec,
    CallbackTarget,
    Recomputed,
    RecomputeMoments,
    RecomputeOrder,
    RecomputeRound,
    Rejected,
    RoundFailed,
    TensorDifference,
)
from compute.formats import load_state_dict, load_tensor
from compute.state_dicts import StateDict, slices

_NOWHERE = CallbackTarget(url="", secret="")


class _Failed(Exception):
    """The round cannot be computed again; says why."""


class _Scratch(LocalBlobStore):
    """Takes what is written, and reads everything else from a store that stays as it is."""

    def __init__(self, root: Path, source: BlobStore) -> None:
        super().__init__(root)
        self._source = source

    @contextlib.contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        with super().local_path(key) if self.exists(key) else self._source.local_path(key) as path:
            yield path


def recompute(store: BlobStore, order: RecomputeOrder) -> Recomputed:
    """What the round gives when it is computed again.

    Args:
        store: Where the blobs are; nothing is written to it.
    """
    device = _device_like(order.device if isinstance(order, RecomputeRound) else "cpu")
    answer = Recomputed(device=str(device), torch=str(torch.__version__))
    with tempfile.TemporaryDirectory(prefix="starling-verify-") as folder:
        scratch = _Scratch(Path(folder), store)
        try:
            if isinstance(order, RecomputeRound):
                wanted, digests = [order.digest], _aggregated(scratch, order, device)
            else:
                wanted = [order.first_digest, order.second_digest]
                digests = _averaged(scratch, order)
            if digests == wanted:
                return msgspec.structs.replace(answer, digests=digests)
            try:
                stored = _tensors(store, wanted)
            except BlobNotFound:
                return msgspec.structs.replace(answer, digests=digests)
            difference = first_difference(stored, _tensors(scratch, digests))
            return msgspec.structs.replace(
                answer, digests=digests, compared=True, difference=difference
            )
        except Rejected as error:
            return msgspec.structs.replace(answer, failure=error.detail)
        except BlobNotFound as error:
            return msgspec.structs.replace(answer, failure=f"Blob {error} is missing.")
        except (BlobError, _Failed) as error:
            return msgspec.structs.replace(answer, failure=str(error))


def first_difference(
    stored: Mapping[str, Tensor], recomputed: Mapping[str, Tensor]
) -> TensorDifference | None:
    """The first value, in the order of `stored`, that has not the same bits; None: all have."""
    for name in [*stored, *(name for name in recomputed if name not in stored)]:
        ours, theirs = stored.get(name), recomputed.get(name)
        if ours is None or theirs is None or _kind(ours) != _kind(theirs):
            return TensorDifference(
                name=name, index=[], stored=_kind(ours), recomputed=_kind(theirs)
            )
        position = _first_position(ours, theirs)
        if position is not None:
            return TensorDifference(
                name=name,
                index=_unravelled(position, ours.shape),
                stored=repr(ours.reshape(-1)[position].item()),
                recomputed=repr(theirs.reshape(-1)[position].item()),
            )
    return None


def _aggregated(scratch: BlobStore, order: RecomputeRound, device: torch.device) -> list[str]:
    spec = AggregatorSpec(
        training_id="",
        strategy=order.strategy,
        blob_url=order.blob_url,
        callback=_NOWHERE,
        options=order.options,
    )
    outcome = Aggregator(spec, scratch, device).finish_round(order.order)
    if isinstance(outcome, RoundFailed):
        raise _Failed(outcome.reason)
    return [outcome.digest]


def _averaged(scratch: BlobStore, order: RecomputeMoments) -> list[str]:
    spec = AggregatorSpec(training_id="", strategy="", blob_url=order.blob_url, callback=_NOWHERE)
    outcome = Aggregator(spec, scratch, torch.device("cpu")).finish_moments(order.order)
    if isinstance(outcome, RoundFailed):
        raise _Failed(outcome.reason)
    return [outcome.first_digest, outcome.second_digest]


def _tensors(store: BlobStore, digests: list[str]) -> StateDict:
    """Those of a model, or two moments; they may map files that stay where they are."""
    if len(digests) == 1:
        with store.local_path(digests[0]) as path:
            return load_state_dict(path)
    moments: StateDict = {}
    for name, digest in zip(("first moment", "second moment"), digests, strict=True):
        with store.local_path(digest) as path:
            moments[name] = load_tensor(path)
    return moments


def _device_like(named: str) -> torch.device:
    """A device of that kind, or the CPU where there is none."""
    return torch.device("cuda" if named.startswith("cuda") and torch.cuda.is_available() else "cpu")


def _kind(tensor: Tensor | None) -> str:
    if tensor is None:
        return "no such tensor"
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _first_position(left: Tensor, right: Tensor) -> int | None:
    """Where, in two flattened tensors of one shape and dtype, the first bits differ."""
    start = 0
    for ours, theirs in zip(slices(left), slices(right), strict=True):
        # As bytes: a number is not its equal when one of them is -0.0, and NaN is itself.
        differs = ours.contiguous().view(torch.uint8) != theirs.contiguous().view(torch.uint8)
        if bool(differs.any()):
            return start + int(differs.nonzero()[0]) // left.element_size()
        start += len(ours)
    return None


def _unravelled(position: int, shape: torch.Size) -> list[int]:
    index: list[int] = []
    for length in reversed(shape):
        position, within = divmod(position, length)
        index.insert(0, within)
    return index


_store_at = cache(open_blob_store)


def main() -> None:
    """Answer the orders on standard input until it ends."""
    warnings.simplefilter("ignore")  # of torch, about formats that clients send
    logging.disable(logging.WARNING)  # a round that cannot be computed is in the answer
    decoder = msgspec.json.Decoder(RecomputeOrder)
    for line in sys.stdin.buffer:
        order = decoder.decode(line)
        answer = recompute(_store_at(order.blob_url), order)
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
