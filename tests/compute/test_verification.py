"""Rounds computed again: equal to the bit, in another process and for every container."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from compute.aggregator import Aggregator
from compute.blobs import BlobStore
from compute.contract import (
    AggregationOptions,
    FinishMoments,
    FinishRound,
    MomentsAggregated,
    MomentsRef,
    Recomputed,
    RecomputeMoments,
    RecomputeOrder,
    RecomputeRound,
    RoundAggregated,
)
from compute.verification import first_difference, recompute
from tests.compute.models import NOWHERE, spec, stored, trained, update
from tests.model_files import exported, pickled, tiny, tiny_file, torchscript

BATCH = torch.zeros(2, 3)


def aggregated(store: BlobStore, base: bytes, *, accumulate: str = "float64") -> RecomputeRound:
    """The order to compute again what an aggregator has just made of three updates."""
    order = FinishRound(
        round=0,
        base_key=stored(store, base).digest,
        updates=[update(store, seed, sample_size=3 * seed + 1) for seed in range(3)],
    )
    options = AggregationOptions(accumulate=accumulate)
    a_spec = msgspec.structs.replace(spec("file:///unused", NOWHERE), options=options)
    outcome = Aggregator(a_spec, store, torch.device("cpu")).finish_round(order)
    assert isinstance(outcome, RoundAggregated)
    return RecomputeRound(
        blob_url="file:///unused",
        strategy="FedAvg",
        options=options,
        order=order,
        digest=outcome.digest,
        device=outcome.figures.device,
    )


def averaged(store: BlobStore) -> RecomputeMoments:
    """Likewise for the moments of three participants."""
    moments = []
    for seed in range(3):
        values = torch.randn(66, generator=torch.Generator().manual_seed(seed))
        first, second = (stored(store, pickled(tensor)).digest for tensor in (values, values**2))
        moments.append(
            MomentsRef(
                moments_id=str(seed), first_digest=first, second_digest=second, sample_size=7 + seed
            )
        )
    base_key = stored(store, pickled(tiny())).digest
    order = FinishMoments(round=1, base_key=base_key, moments=moments)
    aggregator = Aggregator(spec("file:///unused", NOWHERE), store, torch.device("cpu"))
    outcome = aggregator.finish_moments(order)
    assert isinstance(outcome, MomentsAggregated)
    return RecomputeMoments(
        blob_url="file:///unused",
        order=order,
        first_digest=outcome.first_digest,
        second_digest=outcome.second_digest,
    )


def in_another_process(folder: Path, orders: list[RecomputeOrder]) -> list[Recomputed]:
    """What `python -m compute.verification` answers about the blobs in `folder`."""
    lines = [
        msgspec.json.encode(msgspec.structs.replace(order, blob_url=folder.as_uri()))
        for order in orders
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "compute.verification"],
        input=b"\n".join(lines),
        capture_output=True,
        check=True,
    )
    assert ended.stderr == b""
    return [msgspec.json.decode(line, type=Recomputed) for line in ended.stdout.splitlines()]


def with_sample_size(order: RecomputeRound, sample_size: int) -> RecomputeRound:
    """The order with another sample size of its first update."""
    first, *rest = order.order.updates
    changed = msgspec.structs.replace(first, sample_size=sample_size)
    return msgspec.structs.replace(
        order, order=msgspec.structs.replace(order.order, updates=[changed, *rest])
    )


def test_another_process_writes_the_same_bytes_in_every_container(
    store: BlobStore, tmp_path: Path
) -> None:
    orders: list[RecomputeOrder] = [
        aggregated(store, pickled(tiny())),
        aggregated(store, tiny_file()),
        aggregated(store, exported(tiny(), BATCH)),
        aggregated(store, pickled(tiny()), accumulate="float32"),
        averaged(store),
    ]
    files = sorted(tmp_path.rglob("*"))

    answers = in_another_process(tmp_path / "blobs", orders)

    *rounds, moments = orders
    assert isinstance(moments, RecomputeMoments)
    assert [answer.failure for answer in answers] == [None] * 5
    assert [answer.digests for answer in answers] == [
        *([order.digest] for order in rounds if isinstance(order, RecomputeRound)),
        [moments.first_digest, moments.second_digest],
    ]
    assert {(answer.device, answer.torch) for answer in answers} == {("cpu", torch.__version__)}
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("as_file", [pickled, torchscript])
def test_the_first_value_that_differs_is_named(
    store: BlobStore, as_file: Callable[[nn.Module], bytes]
) -> None:
    order = aggregated(store, as_file(tiny()))
    was = torch.stack([trained(seed).state_dict()["0.weight"].double() for seed in range(3)])

    answer = recompute(store, with_sample_size(order, 2))

    def mean(*sizes: int) -> str:
        weighted = torch.tensor(sizes, dtype=torch.float64) @ was[:, 0, 0]
        return repr((weighted / sum(sizes)).float().item())

    assert answer.digests != [order.digest]
    assert answer.compared
    assert answer.difference is not None
    assert (answer.difference.name, answer.difference.index) == ("0.weight", [0, 0])
    assert (answer.difference.stored, answer.difference.recomputed) == (
        mean(1, 4, 7),
        mean(2, 4, 7),
    )


def test_a_difference_of_moments_is_named(store: BlobStore) -> None:
    order = averaged(store)
    first, *rest = order.order.moments
    changed = msgspec.structs.replace(first, second_digest=rest[0].second_digest)
    moments = msgspec.structs.replace(order.order, moments=[changed, *rest])

    answer = recompute(store, msgspec.structs.replace(order, order=moments))

    assert answer.digests[0] == order.first_digest
    assert answer.difference is not None
    assert (answer.difference.name, answer.difference.index) == ("second moment", [0])


def test_other_bytes_around_the_same_tensors_are_told_apart(store: BlobStore) -> None:
    order = aggregated(store, pickled(tiny()))
    (same,) = recompute(store, order).digests
    model = torch.load(store._path(same), weights_only=False)  # type: ignore[attr-defined]
    model.note = "a file of another version"

    answer = recompute(
        store, msgspec.structs.replace(order, digest=stored(store, pickled(model)).digest)
    )

    assert (answer.digests, answer.compared, answer.difference) == ([same], True, None)


def test_a_deleted_result_is_only_compared_by_its_digest(store: BlobStore) -> None:
    order = with_sample_size(aggregated(store, pickled(tiny())), 2)
    store.delete(order.digest)

    answer = recompute(store, order)

    assert answer.digests != [order.digest]
    assert (answer.compared, answer.difference, answer.failure) == (False, None, None)


def test_what_cannot_be_computed_says_why(store: BlobStore) -> None:
    order = aggregated(store, pickled(tiny()))
    strange = msgspec.structs.replace(order, strategy="FedSum")
    store.delete(order.order.updates[1].digest)

    missing = recompute(store, order)
    unknown = recompute(store, strange)

    assert order.order.updates[1].digest in (missing.failure or "")
    assert "FedSum" in (unknown.failure or "")
    assert missing.digests == unknown.digests == []


@pytest.mark.parametrize(
    ("left", "right", "index"),
    [
        (torch.tensor([[1.0, 0.0], [2.0, 3.0]]), torch.tensor([[1.0, -0.0], [2.0, 3.0]]), [0, 1]),
        (torch.zeros(3, 2**20), torch.zeros(3, 2**20).index_fill(0, torch.tensor(2), 1), [2, 0]),
        (torch.tensor(1 + 1j), torch.tensor(1 + 2j), []),
        (torch.tensor([True, False]), torch.tensor([True, True]), [1]),
        (torch.zeros(3), torch.zeros(3).double(), []),
    ],
)
def test_a_difference_is_one_of_bits(
    left: torch.Tensor, right: torch.Tensor, index: list[int]
) -> None:
    difference = first_difference({"same": left, "x": left}, {"same": left, "x": right})

    assert difference is not None
    assert (difference.name, difference.index) == ("x", index)
    assert difference.stored != difference.recomputed


def test_nan_is_itself_and_a_missing_tensor_is_a_difference() -> None:
    nan = torch.tensor([float("nan")])

    difference = first_difference({"x": nan, "y": nan}, {"x": nan.clone()})

    assert difference is not None
    assert (difference.name, difference.recomputed) == ("y", "no such tensor")
