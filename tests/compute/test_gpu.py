"""On a GPU the same results as on a CPU. Needs no Ray: `pytest --noconftest` on a bare machine."""

import json
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from compute import folding
from compute.aggregator import Aggregator
from compute.blobs import BlobStore, LocalBlobStore
from compute.contract import (
    CallbackTarget,
    FinishRound,
    Predict,
    RoundAggregated,
    UncertaintyMethod,
    UpdateRef,
)
from compute.predictor import Predictor
from tests.compute.models import loaded, spec, stored
from tests.model_files import drifted, pickled, tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NOWHERE = CallbackTarget(url="http://127.0.0.1:9/", secret="s")
BATCH = msgspec.Raw(b"[[1, 2, 3], [0.5, -1, 0]]")


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return LocalBlobStore(tmp_path)


def network() -> nn.Sequential:
    """Large enough that sums are made in several slices, with every kind of tensor."""
    return nn.Sequential(
        nn.Linear(2000, 1500), nn.BatchNorm1d(1500), nn.Dropout(0.5), nn.Linear(1500, 10).half()
    )


def shifted(seed: int) -> nn.Module:
    """The network with other weights, of very different magnitudes."""
    torch.manual_seed(seed)
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand_like(parameter) * 10.0 ** (seed % 5 - 2))
        model[1].num_batches_tracked.fill_(seed)
    return model


def aggregated(
    store: BlobStore, order: FinishRound, device: torch.device, *, strategy: str = "FedAvg"
) -> RoundAggregated:
    aggregator = Aggregator(spec("file:///unused", NOWHERE, strategy=strategy), store, device)
    for update in order.updates:
        aggregator.fold(order.round, order.base_key, update)
    outcome = aggregator.finish_round(order)
    assert isinstance(outcome, RoundAggregated), outcome
    return outcome


@pytest.mark.parametrize("strategy", ["FedAvg", "Median"])
@pytest.mark.parametrize("staged_bytes", [2**16, folding.STAGED_BYTES])
def test_a_round_has_the_same_bits_on_a_gpu(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, staged_bytes: int, strategy: str
) -> None:
    monkeypatch.setattr(folding, "STAGED_BYTES", staged_bytes)
    base = stored(store, pickled(network()))
    updates = [
        UpdateRef(
            update_id=str(seed),
            digest=stored(store, pickled(shifted(seed))).digest,
            sample_size=3 * seed + 1,
        )
        for seed in range(7)
    ]
    order = FinishRound(round=0, base_key=base.digest, updates=updates)

    on_cpu, on_gpu = (aggregated(store, order, device, strategy=strategy) for device in (CPU, GPU))

    assert on_gpu.figures.device.startswith("cuda")
    assert on_gpu.digest == on_cpu.digest
    for key, figures in on_cpu.figures.updates.items():
        assert on_gpu.figures.updates[key].norm == pytest.approx(figures.norm, rel=1e-12)
    assert loaded(store, on_gpu.digest).keys() == network().state_dict().keys()


def test_what_a_round_took_of_the_gpu_is_given_back(store: BlobStore) -> None:
    base = stored(store, pickled(network()))
    update = UpdateRef(update_id="u", digest=base.digest, sample_size=1)
    order = FinishRound(round=0, base_key=base.digest, updates=[update])
    before = torch.cuda.memory_allocated()

    aggregated(store, order, GPU)

    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("method", [UncertaintyMethod.NONE, UncertaintyMethod.MC_DROPOUT])
def test_predictions_agree(store: BlobStore, method: UncertaintyMethod) -> None:
    # Two devices drop different entries; so rare a drop changes nothing.
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(1e-9), nn.Softmax(dim=1))
    order = Predict(
        model_keys=[stored(store, pickled(model)).digest], values=BATCH, method=method, seed=0
    )

    answers = [json.loads(Predictor(store, device).predict(order).content) for device in (CPU, GPU)]

    on_cpu, on_gpu = (torch.tensor(answer["inference"]) for answer in answers)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-5)


def test_an_ensemble_predicts_on_a_gpu(store: BlobStore) -> None:
    members = [stored(store, pickled(drifted(tiny(), seed=k))).digest for k in range(3)]
    order = Predict(model_keys=members, values=BATCH, method=UncertaintyMethod.ENSEMBLE)

    answers = [json.loads(Predictor(store, device).predict(order).content) for device in (CPU, GPU)]

    on_cpu, on_gpu = (torch.tensor(answer["inference"]) for answer in answers)
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-5)
