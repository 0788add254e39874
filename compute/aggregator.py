"""Folds updates as they arrive and writes the next global model.

A plain class that knows no transport: Ray wraps it, tests and benchmarks call it.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from compute.blobs import BlobRef, BlobStore
from compute.contract import (
    AggregatorSpec,
    FinishMoments,
    FinishRound,
    MomentsAggregated,
    Rejected,
    RoundAggregated,
    RoundFailed,
    RoundFigures,
    UpdateFigures,
    UpdateRef,
)
from compute.folding import DeviceFold, HostFold, Weighted, complex_are_finite
from compute.formats import load_state_dict, store_like
from compute.gathering import gather
from compute.moments import average_moments, write_moments
from compute.state_dicts import (
    CoordinateSample,
    StateDict,
    require_finite,
    require_same_tensors,
    squared_distance,
)
from compute.strategies import FoldingStrategy, GatheringStrategy, make_strategy

logger = logging.getLogger(__name__)

COSINE_SAMPLE_SIZE = 4096
# Updates that wait are folded together, up to so many: each then reads the sum and the base from
# the cache. More gain little, and each maps a file.
FOLDED_TOGETHER = 4


@dataclass
class _Folded:
    """What is remembered of an update once it is in the sum."""

    update: UpdateRef
    norm: float
    sampled_difference: Tensor
    sampled_norm: float


class _Work(Protocol):
    """What is being made of a round's updates."""

    def take_(self, updates: Sequence[tuple[UpdateRef, StateDict]]) -> list[float]:
        """Add compatible updates in this order; gives their squared distances to the base.

        What is not finite in an update may be found by its distance only, and has spoilt the work.
        """
        ...

    def finish(self) -> StateDict:
        """The new model on the CPU; the work is used up."""
        ...


class _Folding:
    def __init__(self, strategy: FoldingStrategy, base: StateDict, device: torch.device) -> None:
        self._strategy = strategy
        self._base = base
        self._state = strategy.init(base, device)
        self._fold: HostFold | DeviceFold = (
            DeviceFold(strategy, self._state, base, device)
            if device.type == "cuda"
            else HostFold(strategy, self._state, base)
        )

    def take_(self, updates: Sequence[tuple[UpdateRef, StateDict]]) -> list[float]:
        return self._fold.fold_measured_(
            [Weighted(tensors, update.sample_size) for update, tensors in updates]
        )

    def finish(self) -> StateDict:
        return self._strategy.finish(self._state, self._base)


class _Gathering:
    """Remembers which updates there are; they are read again, together, at the end."""

    def __init__(
        self, strategy: GatheringStrategy, base: StateDict, device: torch.device, store: BlobStore
    ) -> None:
        self._strategy = strategy
        self._base = base
        self._device = device
        self._store = store
        self._updates: list[UpdateRef] = []

    def take_(self, updates: Sequence[tuple[UpdateRef, StateDict]]) -> list[float]:
        self._updates += [update for update, _ in updates]
        return [squared_distance(tensors, self._base) for _, tensors in updates]

    def finish(self) -> StateDict:
        with ExitStack() as files:
            weighted = [
                Weighted(
                    load_state_dict(files.enter_context(self._store.local_path(update.digest))),
                    update.sample_size,
                )
                for update in self._updates
            ]
            return gather(self._strategy, self._base, weighted, self._device)


@dataclass
class _OpenRound:
    number: int
    base_key: str
    base: StateDict
    sample: CoordinateSample
    sampled_base: Tensor
    # Of the differences, by samples: made as they come, for at its end a round of hundreds waits.
    weighted_sum: Tensor
    work: _Work
    folded: dict[str, _Folded] = field(default_factory=dict)
    fold_seconds: float = 0.0


class Aggregator:
    """The aggregator of one training; holds one round's running sum at a time.

    What the result depends on: the base, the listed updates, and the order in which they were
    folded (`RoundFigures.fold_order`), nothing else. The same order gives the same tensors, bit for
    bit, on any machine, CPU or GPU; and the same bytes with the same torch. With float64
    accumulation other orders differ by at most 1 ulp in float32, and nearly always not at all. An
    aggregator that was not told of any update ahead (a restarted one) folds them in the order of
    the list.

    A gathering strategy's round is told of its updates likewise and reads them again at its end,
    all at once and slice by slice.

    Figures: a norm is exact. The cosine to the mean is taken over at most 4,096 floating
    coordinates, chosen once per model by a fixed seed (all of them in a smaller model): so an
    update is read once and memory does not grow by a model per update.

    May be called from several threads; calls wait for each other.
    """

    def __init__(self, spec: AggregatorSpec, store: BlobStore, device: torch.device) -> None:
        self._spec = spec
        self._store = store
        self._device = device
        self._round: _OpenRound | None = None
        self._lock = threading.Lock()

    def fold(self, round: int, base_key: str, update: UpdateRef) -> None:
        """Add an update to the round's sum; a repeat, or one of an earlier round, changes nothing.

        Raises:
            Rejected: the base or the update is not a model, or they do not fit.
            ValueError: the strategy is unknown or cannot do the options.
            BlobError: a blob is missing or cannot be read now.
        """
        with self._lock:
            if self._round is not None and round < self._round.number:
                return
            opened = self._open(round, base_key)
            if update.update_id not in opened.folded:
                self._fold(opened, [update])

    def finish_round(self, order: FinishRound) -> RoundAggregated | RoundFailed:
        """The round's new global model, in the blob store; repeating the order gives it again.

        Updates that are listed and not folded are folded now. When something is in the sum that is
        not listed, the sum is made anew.

        Raises:
            BlobError: a blob is missing or the store fails; the same order may succeed later.
        """
        with self._lock:
            try:
                return self._finish(order)
            except (Rejected, ValueError) as error:
                self._round = None
                reason = error.detail if isinstance(error, Rejected) else str(error)
                logger.warning("Round %d cannot be aggregated: %s", order.round, reason)
                return RoundFailed(
                    training_id=self._spec.training_id, round=order.round, reason=reason
                )
            except BaseException:
                self._round = None  # a half-used sum is worth nothing
                raise

    def finish_moments(self, order: FinishMoments) -> MomentsAggregated | RoundFailed:
        """The weighted means of SWAG moments, in the blob store; a repeat gives them again.

        Raises:
            BlobError: a blob is missing or the store fails; the same order may succeed later.
        """
        training_id = self._spec.training_id
        try:
            moments = average_moments(self._store, order.moments)
        except (Rejected, ValueError) as error:
            reason = error.detail if isinstance(error, Rejected) else str(error)
            logger.warning("Moments of round %d cannot be averaged: %s", order.round, reason)
            return RoundFailed(training_id=training_id, round=order.round, reason=reason)
        first, second = write_moments(self._store, moments)
        return MomentsAggregated(
            training_id=training_id,
            round=order.round,
            first_digest=first.digest,
            second_digest=second.digest,
        )

    def _finish(self, order: FinishRound) -> RoundAggregated:
        opened = self._open(order.round, order.base_key)
        listed = {update.update_id: update for update in order.updates}
        if any(listed.get(key) != folded.update for key, folded in opened.folded.items()):
            self._round = None
            opened = self._open(order.round, order.base_key)
        waiting = [update for key, update in listed.items() if key not in opened.folded]
        for first in range(0, len(waiting), FOLDED_TOGETHER):
            self._fold(opened, waiting[first : first + FOLDED_TOGETHER])
        started = time.perf_counter()
        figures = _update_figures(opened)
        # The sum is used up below; a repeated order folds again.
        self._round = None
        blob = self._write(order.base_key, opened.work.finish())
        return RoundAggregated(
            training_id=self._spec.training_id,
            round=order.round,
            digest=blob.digest,
            size_bytes=blob.size_bytes,
            figures=RoundFigures(
                updates=figures,
                total_samples=sum(update.sample_size for update in listed.values()),
                fold_seconds=opened.fold_seconds,
                write_seconds=time.perf_counter() - started,
                device=str(self._device),
                fold_order=list(opened.folded),
                torch=str(torch.__version__),
            ),
        )

    def _open(self, number: int, base_key: str) -> _OpenRound:
        opened = self._round
        if opened is None or (opened.number, opened.base_key) != (number, base_key):
            with self._store.local_path(base_key) as path:
                base = load_state_dict(path)
            strategy = make_strategy(self._spec.strategy, self._spec.options)
            work: _Work = (
                _Folding(strategy, base, self._device)
                if strategy.kind == "folding"
                else _Gathering(strategy, base, self._device, self._store)
            )
            sample = CoordinateSample(base, COSINE_SAMPLE_SIZE)
            sampled_base = sample.values(base)
            opened = _OpenRound(
                number=number,
                base_key=base_key,
                base=base,
                sample=sample,
                sampled_base=sampled_base,
                weighted_sum=torch.zeros_like(sampled_base),
                work=work,
            )
            self._round = opened
        return opened

    def _fold(self, opened: _OpenRound, updates: Sequence[UpdateRef]) -> None:
        started = time.perf_counter()
        with ExitStack() as files:
            loaded = [
                (
                    update,
                    load_state_dict(files.enter_context(self._store.local_path(update.digest))),
                )
                for update in updates
            ]
            for _, tensors in loaded:
                require_same_tensors(tensors, opened.base)
                if not complex_are_finite(tensors):
                    require_finite(tensors)
            try:
                squares = opened.work.take_(loaded)
                if not all(map(math.isfinite, squares)):
                    for _, tensors in loaded:
                        require_finite(tensors)
                # After the sum, for which all cores have faulted the mapped pages in.
                for (update, tensors), square in zip(loaded, squares, strict=True):
                    difference = opened.sample.values(tensors).sub_(opened.sampled_base)
                    opened.weighted_sum.add_(difference, alpha=update.sample_size)
                    opened.folded[update.update_id] = _Folded(
                        update, math.sqrt(square), difference, _norm(difference)
                    )
            except BaseException:
                self._round = None  # perhaps in the sum, and not in the list of what is
                raise
        opened.fold_seconds += time.perf_counter() - started

    def _write(self, base_key: str, state: StateDict) -> BlobRef:
        with self._store.local_path(base_key) as base_path:
            return store_like(self._store, base_path, state)


def _update_figures(opened: _OpenRound) -> dict[str, UpdateFigures]:
    """Norms, and cosines to the weighted mean over the sampled coordinates."""
    if not opened.folded:
        return {}
    samples = sum(each.update.sample_size for each in opened.folded.values())
    mean = opened.weighted_sum / float(samples)
    norm = _norm(mean)
    return {
        key: UpdateFigures(
            norm=each.norm,
            cosine_to_mean=_cosine(
                torch.dot(each.sampled_difference, mean).item(), each.sampled_norm * norm
            ),
        )
        for key, each in opened.folded.items()
    }


def _norm(vector: Tensor) -> float:
    norm: float = torch.linalg.vector_norm(vector).item()
    return norm


def _cosine(product: float, length: float) -> float | None:
    if length == 0.0 or not math.isfinite(length):
        return None
    return max(-1.0, min(1.0, product / length))
