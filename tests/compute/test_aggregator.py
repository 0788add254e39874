"""The aggregator as a plain object: rounds, repeats, and what its figures mean."""

import json
import threading
from itertools import permutations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from compute.aggregator import Aggregator
from compute.blobs import BlobNotFound, BlobStore
from compute.contract import (
    AggregatorSpec,
    FinishRound,
    Rejected,
    RoundAggregated,
    RoundFailed,
    UpdateRef,
)
from tests.compute.models import NOWHERE, loaded, spec, stored, update
from tests.model_files import (
    assert_within_one_ulp,
    federated_average,
    pickled,
    tiny,
    torchscript,
    weights,
)

CPU = torch.device("cpu")


def new_aggregator(store: BlobStore, **changes: str) -> Aggregator:
    a_spec: AggregatorSpec = spec("file:///unused", NOWHERE, **changes)
    return Aggregator(a_spec, store, CPU)


def finished(aggregator: Aggregator, order: FinishRound) -> RoundAggregated:
    outcome = aggregator.finish_round(order)
    assert isinstance(outcome, RoundAggregated), outcome
    return outcome


@pytest.fixture
def base_key(store: BlobStore) -> str:
    return stored(store, pickled(tiny())).digest


@pytest.fixture
def updates(store: BlobStore) -> list[UpdateRef]:
    return [update(store, seed, sample_size=3 * seed + 1) for seed in range(4)]


@pytest.fixture
def order(base_key: str, updates: list[UpdateRef]) -> FinishRound:
    return FinishRound(round=0, base_key=base_key, updates=updates)


@pytest.mark.parametrize("as_file", [pickled, torchscript])
def test_the_new_model_is_the_federated_average(
    as_file: object, store: BlobStore, updates: list[UpdateRef]
) -> None:
    base = stored(store, as_file(tiny()))  # type: ignore[operator]
    outcome = finished(
        new_aggregator(store), FinishRound(round=2, base_key=base.digest, updates=updates)
    )
    content = b"".join(store.read(outcome.digest))
    expected = federated_average(
        [(ref.sample_size, weights(b"".join(store.read(ref.digest)))) for ref in updates]
    )
    assert_within_one_ulp(weights(content), expected)
    assert (outcome.round, outcome.size_bytes) == (2, len(content))
    assert outcome.figures.total_samples == 22


def test_the_order_of_folding_is_reported_and_computes_the_same_bytes_again(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    results = []
    for arrival in list(permutations(updates))[::5]:
        aggregator = new_aggregator(store)
        for ref in arrival[:3]:
            aggregator.fold(0, order.base_key, ref)
        outcome = finished(aggregator, order)
        results.append(weights(b"".join(store.read(outcome.digest))))
        by_id = {ref.update_id: ref for ref in updates}
        replay = FinishRound(
            round=0,
            base_key=order.base_key,
            updates=[by_id[key] for key in outcome.figures.fold_order],
        )
        assert finished(new_aggregator(store), replay).digest == outcome.digest
    for result in results[1:]:
        assert_within_one_ulp(result, results[0])


def test_repeated_folds_and_a_repeated_finish_change_nothing(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    for ref in [*updates, *updates]:
        aggregator.fold(0, order.base_key, ref)
    first = finished(aggregator, order)
    assert finished(aggregator, order).digest == first.digest
    assert finished(new_aggregator(store), order).digest == first.digest


def test_what_was_folded_and_is_not_listed_leaves_no_trace(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    aggregator.fold(0, order.base_key, updates[3])
    aggregator.fold(0, order.base_key, updates[0])
    fewer = msgspec.structs.replace(order, updates=updates[:2])
    outcome = finished(aggregator, fewer)
    undisturbed = finished(new_aggregator(store), fewer)
    assert outcome.digest == undisturbed.digest
    assert set(outcome.figures.updates) == {"update-0", "update-1"}
    assert outcome.figures.updates == undisturbed.figures.updates


def test_an_update_that_was_replaced_counts_as_it_is_listed(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    aggregator.fold(0, order.base_key, msgspec.structs.replace(updates[0], sample_size=999))
    assert finished(aggregator, order).digest == finished(new_aggregator(store), order).digest


def test_a_late_fold_of_an_earlier_round_does_not_disturb_the_open_one(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    later = msgspec.structs.replace(order, round=1)
    aggregator.fold(1, order.base_key, updates[0])
    aggregator.fold(0, order.base_key, updates[1])
    outcome = finished(aggregator, later)
    assert outcome.figures.fold_order[0] == "update-0"
    assert outcome.digest == finished(new_aggregator(store), later).digest


def test_rounds_follow_each_other(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    first = finished(aggregator, order)
    second = finished(aggregator, FinishRound(round=1, base_key=first.digest, updates=updates[:1]))
    expected = loaded(store, updates[0].digest)
    found = loaded(store, second.digest)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_concurrent_calls_wait_for_each_other(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    threads = [
        threading.Thread(target=aggregator.fold, args=(0, order.base_key, ref))
        for ref in [*updates, *updates]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome = finished(aggregator, order)
    assert sorted(outcome.figures.fold_order) == [ref.update_id for ref in updates]


def test_figures_say_how_far_and_in_which_direction_each_update_went(store: BlobStore) -> None:
    def moved(*by: float) -> UpdateRef:
        model = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.tensor([by]))
        digest = stored(store, pickled(model)).digest
        return UpdateRef(update_id=str(by), digest=digest, sample_size=1)

    base = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        base.weight.zero_()
    updates = [moved(3.0, 4.0), moved(3.0, -4.0), moved(0.0, 0.0)]
    outcome = finished(
        new_aggregator(store),
        FinishRound(round=0, base_key=stored(store, pickled(base)).digest, updates=updates),
    )
    figures = [outcome.figures.updates[ref.update_id] for ref in updates]
    assert [figure.norm for figure in figures] == [5.0, 5.0, 0.0]
    assert [figure.cosine_to_mean for figure in figures] == [
        pytest.approx(0.6),
        pytest.approx(0.6),
        None,
    ]
    assert (outcome.figures.device, outcome.figures.torch) == ("cpu", torch.__version__)
    json.loads(msgspec.json.encode(outcome))


def test_the_sampled_cosine_is_near_the_exact_one(store: BlobStore) -> None:
    base = nn.Linear(200, 200)
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(nn.Linear(200, 200))
    refs = [
        UpdateRef(update_id=str(n), digest=stored(store, pickled(model)).digest, sample_size=n + 1)
        for n, model in enumerate(models)
    ]
    outcome = finished(
        new_aggregator(store),
        FinishRound(round=0, base_key=stored(store, pickled(base)).digest, updates=refs),
    )
    flat = [
        torch.cat([t.double().reshape(-1) for t in model.state_dict().values()]).numpy()
        for model in [base, *models]
    ]
    differences = [vector - flat[0] for vector in flat[1:]]
    mean = sum((n + 1) * vector for n, vector in enumerate(differences)) / 6
    for n, vector in enumerate(differences):
        exact = vector @ mean / np.linalg.norm(vector) / np.linalg.norm(mean)
        assert outcome.figures.updates[str(n)].cosine_to_mean == pytest.approx(exact, abs=0.1)
        assert outcome.figures.updates[str(n)].norm == pytest.approx(np.linalg.norm(vector))


def test_an_update_that_does_not_fit_fails_the_round_and_not_the_aggregator(
    store: BlobStore, order: FinishRound
) -> None:
    alien = UpdateRef(
        update_id="alien", digest=stored(store, pickled(nn.Linear(2, 2))).digest, sample_size=1
    )
    aggregator = new_aggregator(store)
    with pytest.raises(Rejected, match=r"0\.weight is missing"):
        aggregator.fold(0, order.base_key, alien)
    outcome = aggregator.finish_round(msgspec.structs.replace(order, updates=[alien]))
    assert isinstance(outcome, RoundFailed)
    assert "0.weight is missing" in outcome.reason
    assert finished(aggregator, order)


def test_an_order_without_updates_fails_the_round(store: BlobStore, order: FinishRound) -> None:
    outcome = new_aggregator(store).finish_round(msgspec.structs.replace(order, updates=[]))
    assert isinstance(outcome, RoundFailed)
    assert "No update" in outcome.reason


def test_a_base_that_is_no_model_fails_the_round(store: BlobStore, order: FinishRound) -> None:
    garbage = stored(store, b"garbage").digest
    outcome = new_aggregator(store).finish_round(msgspec.structs.replace(order, base_key=garbage))
    assert isinstance(outcome, RoundFailed)


def test_after_a_missing_blob_the_same_order_succeeds_once_it_is_there(
    store: BlobStore, order: FinishRound, updates: list[UpdateRef]
) -> None:
    aggregator = new_aggregator(store)
    content = b"".join(store.read(updates[2].digest))
    store.delete(updates[2].digest)
    with pytest.raises(BlobNotFound):
        aggregator.finish_round(order)
    store.put([content])
    assert finished(aggregator, order).digest == finished(new_aggregator(store), order).digest


def test_aggregating_leaves_no_scratch_in_the_store(store: BlobStore, order: FinishRound) -> None:
    finished(new_aggregator(store), order)
    assert store.sweep_staged(older_than_seconds=-1) == 0
