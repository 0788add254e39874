"""Folds updates as they arrive and writes the next global model.

A plain class that knows no transport: Ray wraps it, tests and benchmarks call it.
"""

import logging
import math
import threading
import time
from dataclasses import dataclass, field

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
from compute.formats import load_state_dict, write_like
from compute.moments import average_moments, write_moments
from compute.state_dicts import (
    CoordinateSample,
    StateDict,
    require_compatible,
    squared_distance,
)
from compute.strategies import FoldingStrategy, FoldState, make_strategy

logger = logging.getLogger(__name__)

COSINE_SAMPLE_SIZE = 4096


@dataclass
class _Folded:
    """What is remembered of an update once it is in the sum."""

    update: UpdateRef
    norm: float
    sampled_difference: Tensor


@dataclass
class _OpenRound:
    number: int
    base_key: str
    base: StateDict
    sample: CoordinateSample
    strategy: FoldingStrategy
    state: FoldState
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
                self._fold(opened, update)

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
        for update in listed.values():
            if update.update_id not in opened.folded:
                self._fold(opened, update)
        started = time.perf_counter()
        figures = _update_figures(opened)
        # The sum is used up below; a repeated order folds again.
        self._round = None
        blob = self._write(order.base_key, opened.strategy.finish(opened.state, opened.base))
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
            opened = _OpenRound(
                number=number,
                base_key=base_key,
                base=base,
                sample=CoordinateSample(base, COSINE_SAMPLE_SIZE),
                strategy=strategy,
                state=strategy.init(base, self._device),
            )
            self._round = opened
        return opened

    def _fold(self, opened: _OpenRound, update: UpdateRef) -> None:
        started = time.perf_counter()
        with self._store.local_path(update.digest) as path:
            tensors = load_state_dict(path)
            require_compatible(tensors, opened.base)
            norm = math.sqrt(squared_distance(tensors, opened.base))
            sampled_difference = opened.sample.difference(tensors, opened.base)
            try:
                opened.strategy.fold_(opened.state, tensors, update.sample_size)
            except BaseException:
                self._round = None  # perhaps half-way in the sum
                raise
        opened.folded[update.update_id] = _Folded(update, norm, sampled_difference)
        opened.fold_seconds += time.perf_counter() - started

    def _write(self, base_key: str, state: StateDict) -> BlobRef:
        with self._store.local_path(base_key) as base_path, self._store.scratch_file() as path:
            write_like(base_path, state, path)
            return self._store.put_file(path, consume=True)


def _update_figures(opened: _OpenRound) -> dict[str, UpdateFigures]:
    """Norms, and cosines to the weighted mean over the sampled coordinates."""
    if not opened.folded:
        return {}
    mean = torch.zeros_like(next(iter(opened.folded.values())).sampled_difference)
    for folded in opened.folded.values():
        mean.add_(folded.sampled_difference, alpha=folded.update.sample_size)
    mean.div_(sum(folded.update.sample_size for folded in opened.folded.values()))
    return {
        key: UpdateFigures(
            norm=folded.norm, cosine_to_mean=_cosine(folded.sampled_difference, mean)
        )
        for key, folded in opened.folded.items()
    }


def _cosine(left: Tensor, right: Tensor) -> float | None:
    length = float(left.norm()) * float(right.norm())
    if length == 0.0 or not math.isfinite(length):
        return None
    return max(-1.0, min(1.0, float(left @ right) / length))
