"""Gathering slice by slice: sizes of slices change nothing, and memory is that of slices."""

import threading
from collections.abc import Sequence
from typing import ClassVar, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compute import gathering
from compute.aggregator import Aggregator
from compute.blobs import BlobStore
from compute.contract import AggregationOptions, FinishRound, Rejected, RoundAggregated, RoundFailed
from compute.folding import Weighted
from compute.gathering import gather
from compute.state_dicts import StateDict
from compute.strategies.median import Median
from tests.compute.models import NOWHERE, loaded, spec, stored, trained, update
from tests.compute.test_folding import BASE, UPDATES, bits
from tests.model_files import pickled, tiny

CPU = torch.device("cpu")


def whole(updates: Sequence[Weighted]) -> StateDict:
    """Every tensor's median in one piece."""
    strategy = Median(AggregationOptions())
    return {
        name: strategy.gather(
            [update.tensors[name].reshape(-1) for update in updates], [1] * len(updates)
        ).reshape(tensor.shape)
        for name, tensor in BASE.items()
    }


@given(st.integers(1, 700), st.integers(1, len(UPDATES)))
def test_slices_of_any_size_give_the_same_bits(elements: int, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "MIN_SLICE_ELEMENTS", elements)
        patch.setattr(gathering, "MAX_SLICE_ELEMENTS", elements)
        found = gather(Median(AggregationOptions()), BASE, UPDATES[:count], CPU)
    assert bits(found) == bits(whole(UPDATES[:count]))


class Watched:
    """The first update, and how much was asked for at once."""

    kind: ClassVar[Literal["gathering"]] = "gathering"

    def __init__(self, options: AggregationOptions) -> None:
        self.lock = threading.Lock()
        self.largest = 0
        self.seen = 0

    def gather(self, pieces: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
        with self.lock:
            self.largest = max(self.largest, len(pieces[0]))
            self.seen += len(pieces[0])
        assert list(weights) == [5, 6, 7]
        return pieces[0].clone()


def test_a_strategy_sees_each_coordinate_once_and_few_at_a_time() -> None:
    base = {"x": torch.zeros(1000, 333), "n": torch.zeros(3, dtype=torch.int64)}
    updates = [Weighted({k: t + w for k, t in base.items()}, w) for w in (5, 6, 7)]
    strategy = Watched(AggregationOptions())
    found = gather(strategy, base, updates, CPU)
    assert torch.equal(found["x"], base["x"] + 5)
    assert strategy.seen == 333_003
    assert strategy.largest <= gathering.MAX_SLICE_ELEMENTS


def test_what_a_strategy_raises_in_a_thread_is_raised() -> None:
    class Fails(Watched):
        def gather(self, pieces: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
            raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        gather(Fails(AggregationOptions()), BASE, UPDATES, CPU)


@pytest.mark.parametrize("count", [1, 4, 5])
def test_an_aggregator_writes_the_median(count: int, store: BlobStore) -> None:
    refs = [update(store, seed, sample_size=seed + 1) for seed in range(count)]
    order = FinishRound(
        round=0, base_key=stored(store, pickled(tiny())).digest, updates=list(reversed(refs))
    )
    aggregator = Aggregator(spec("file:///unused", NOWHERE, strategy="Median"), store, CPU)
    for ref in refs[:3]:
        aggregator.fold(0, order.base_key, ref)
    outcome = aggregator.finish_round(order)
    assert isinstance(outcome, RoundAggregated), outcome
    found = loaded(store, outcome.digest)
    states = [trained(seed).state_dict() for seed in range(count)]
    for name, tensor in found.items():
        rows = torch.stack([state[name] for state in states]).double().sort(dim=0).values
        expected = (rows[(count - 1) // 2] + rows[count // 2]) / 2
        assert torch.equal(tensor, expected.to(tensor.dtype)), name
    assert outcome.figures.updates["update-0"].norm > 0
    again = Aggregator(spec("file:///unused", NOWHERE, strategy="Median"), store, CPU)
    repeated = again.finish_round(order)
    assert isinstance(repeated, RoundAggregated)
    assert repeated.digest == outcome.digest


def test_without_updates_there_is_no_median(store: BlobStore) -> None:
    order = FinishRound(round=0, base_key=stored(store, pickled(tiny())).digest, updates=[])
    aggregator = Aggregator(spec("file:///unused", NOWHERE, strategy="Median"), store, CPU)
    outcome = aggregator.finish_round(order)
    assert isinstance(outcome, RoundFailed)
    assert "No update" in outcome.reason


def test_an_update_that_is_not_finite_is_not_gathered(store: BlobStore) -> None:
    module = tiny()
    with torch.no_grad():
        module[0].weight[0, 0] = float("nan")
    ref = update(store, 1, sample_size=1)
    bad = type(ref)(update_id="bad", digest=stored(store, pickled(module)).digest, sample_size=1)
    for strategy in ("Median", "FedAvg"):
        aggregator = Aggregator(spec("file:///unused", NOWHERE, strategy=strategy), store, CPU)
        base_key = stored(store, pickled(tiny())).digest
        aggregator.fold(0, base_key, ref)
        with pytest.raises(Rejected, match=r"0\.weight has a NaN"):
            aggregator.fold(0, base_key, bad)
        alone = aggregator.finish_round(FinishRound(round=0, base_key=base_key, updates=[ref]))
        fresh = Aggregator(spec("file:///unused", NOWHERE, strategy=strategy), store, CPU)
        expected = fresh.finish_round(FinishRound(round=0, base_key=base_key, updates=[ref]))
        assert isinstance(alone, RoundAggregated)
        assert isinstance(expected, RoundAggregated)
        assert alone.digest == expected.digest
