"""What every gateway does, in this process and on Ray."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import pytest
import safetensors.torch
import torch

from compute.blobs import BlobStore, open_blob_store
from compute.cluster import RayConfig
from compute.contract import (
    ActorKind,
    AggregatorSpec,
    CheckModel,
    CheckMoments,
    CheckPreprocessing,
    CheckUpdate,
    FinishMoments,
    FinishRound,
    MakeMean,
    ModelFormat,
    MomentsAggregated,
    MomentsRef,
    Predict,
    Rejected,
    RejectionReason,
    RoundAggregated,
    RoundFailed,
    UncertaintyMethod,
    UpdateRef,
    WriteStateDict,
)
from compute.gateway import ComputeGateway, ComputeUnavailable
from compute.in_process_gateway import InProcessGateway
from compute.ray_gateway import RayGateway
from tests.compute.callback_server import CallbackServer
from tests.compute.models import Greedy, loaded, spec, staged, stored, update
from tests.model_files import CallsOnLoad, Unlisted, pickled, tiny, tiny_file, torchscript

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class World:
    gateway: ComputeGateway
    store: BlobStore
    blob_url: str
    backend: CallbackServer

    def spec(self, **fields: str) -> AggregatorSpec:
        return spec(self.blob_url, self.backend.target, training_id=uuid.uuid4().hex, **fields)


@pytest.fixture(params=["in_process", "ray"])
def world(request: pytest.FixtureRequest, backend: CallbackServer) -> World:
    gateway: ComputeGateway = request.getfixturevalue(f"{request.param}_gateway")
    blob_url: str = request.getfixturevalue("blob_url")
    return World(gateway, open_blob_store(blob_url), blob_url, backend)


async def test_it_is_ready_once_started(world: World) -> None:
    health = await world.gateway.health()
    assert health.ready
    assert health.cpus >= 1


async def test_its_machine_is_shown_with_what_is_used_of_it(world: World) -> None:
    state = await world.gateway.cluster_state()

    (node,) = state.nodes
    assert (state.ready, state.embedded, node.alive, node.head) == (True, True, True, True)
    assert node.cpus == (await world.gateway.health()).cpus
    assert 0 <= node.cpus_used <= node.cpus
    assert 0 < node.memory_used_bytes < node.memory_bytes == psutil.virtual_memory().total
    assert node.id
    assert node.name


async def test_who_serves_which_training_and_model_is_shown(world: World) -> None:
    model = stored(world.store, pickled(tiny()))
    aggregator = world.spec()
    await world.gateway.fold(aggregator, 0, model.digest, update(world.store, 1, sample_size=1))
    await world.gateway.predict(predict_tiny(model.digest))

    state = await world.gateway.cluster_state()
    serving = [each for each in state.actors if each.training_id == aggregator.training_id]
    predicting = [each for each in state.actors if each.model_key == model.digest]
    await world.gateway.release(aggregator.training_id)
    later = await world.gateway.cluster_state()

    for kind, actors in ((ActorKind.AGGREGATOR, serving), (ActorKind.PREDICTOR, predicting)):
        (actor,) = actors
        assert (actor.kind, actor.state, actor.restarts) == (kind, "ALIVE", 0)
        assert actor.node_id == state.nodes[0].id
        assert psutil.pid_exists(actor.pid or 0)
    assert aggregator.training_id not in [each.training_id for each in later.actors]


async def test_a_staged_model_is_reported_with_its_layers(world: World) -> None:
    upload = staged(world.store, pickled(tiny()))
    report = await world.gateway.check_model(CheckModel(key=upload.key, input_shape=[None, 3]))
    assert report.format is ModelFormat.PICKLED_MODULE
    assert report.num_parameters == 66
    assert report.stats is not None
    assert report.stats["total_params"] == 66


async def test_a_models_tensors_are_written_without_the_module(world: World) -> None:
    model = stored(world.store, tiny_file())
    order = WriteStateDict(key=model.digest)

    written = await world.gateway.write_state_dict(order)

    assert await world.gateway.write_state_dict(order) == written
    tensors = safetensors.torch.load(b"".join(world.store.read(written.digest)))
    assert tensors.keys() == tiny().state_dict().keys()


async def test_a_pickle_that_would_run_something_is_rejected_and_runs_nothing(
    world: World, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    upload = staged(world.store, pickled(CallsOnLoad(str(trap))))
    with pytest.raises(Rejected, match=r"open, which is not an allowed class") as caught:
        await world.gateway.check_model(CheckModel(key=upload.key))
    assert caught.value.reason is RejectionReason.UNSAFE
    assert not trap.exists()


async def test_a_class_that_is_not_allowed_is_named(world: World) -> None:
    upload = staged(world.store, pickled(Unlisted()))
    with pytest.raises(Rejected, match=r"tests\.model_files\.Unlisted"):
        await world.gateway.check_model(CheckModel(key=upload.key))


async def test_preprocessing_that_is_a_tensor_is_rejected(world: World) -> None:
    upload = staged(world.store, pickled(torch.ones(3)))
    with pytest.raises(Rejected, match="not a preprocessing module"):
        await world.gateway.check_preprocessing(CheckPreprocessing(key=upload.key))


async def test_an_update_in_another_container_than_its_base_is_taken(world: World) -> None:
    base = stored(world.store, tiny_file())
    upload = staged(world.store, pickled(tiny(seed=1).state_dict()))
    report = await world.gateway.check_update(CheckUpdate(key=upload.key, base_key=base.digest))
    assert report.format is ModelFormat.PICKLED_STATE_DICT
    assert report.num_tensors == 9


async def test_an_update_with_a_nan_is_rejected_by_the_tensors_name(world: World) -> None:
    base = stored(world.store, pickled(tiny()))
    model = tiny()
    with torch.no_grad():
        model[4].weight[0, 0] = float("nan")
    upload = staged(world.store, pickled(model))
    with pytest.raises(Rejected, match=r"4\.weight") as caught:
        await world.gateway.check_update(CheckUpdate(key=upload.key, base_key=base.digest))
    assert caught.value.reason is RejectionReason.NOT_FINITE


async def test_an_upload_that_is_not_there_can_be_asked_for_again(world: World) -> None:
    with pytest.raises(ComputeUnavailable):
        await world.gateway.check_model(CheckModel(key="staged/" + "0" * 32))


async def test_a_round_is_aggregated_and_called_back_once_per_order(world: World) -> None:
    base = stored(world.store, pickled(tiny()))
    updates = [update(world.store, seed, sample_size=seed + 1) for seed in range(3)]
    aggregator = world.spec()
    await world.gateway.fold(aggregator, 0, base.digest, updates[0])
    await world.gateway.fold(aggregator, 0, base.digest, updates[0])
    order = FinishRound(round=0, base_key=base.digest, updates=updates)
    await world.gateway.finish_round(aggregator, order)
    await world.gateway.finish_round(aggregator, order)
    await world.gateway.release(aggregator.training_id)

    first, second = world.backend.received
    assert isinstance(first, RoundAggregated)
    assert isinstance(second, RoundAggregated)
    assert first.digest == second.digest
    assert first.figures.total_samples == 6
    assert set(first.figures.updates) == {"update-0", "update-1", "update-2"}
    assert all(world.backend.signatures_were_genuine)
    assert world.store.size(first.digest) == first.size_bytes


async def test_an_update_that_does_not_fit_fails_the_round_for_good(world: World) -> None:
    base = stored(world.store, pickled(tiny()))
    alien = stored(world.store, pickled(torch.nn.Linear(2, 2)))
    ref = UpdateRef(update_id="alien", digest=alien.digest, sample_size=1)
    aggregator = world.spec()
    await world.gateway.finish_round(
        aggregator, FinishRound(round=0, base_key=base.digest, updates=[ref])
    )
    await world.gateway.release(aggregator.training_id)
    (callback,) = world.backend.received
    assert isinstance(callback, RoundFailed)
    assert "0.weight is missing" in callback.reason


async def test_an_unknown_strategy_fails_the_round_for_good(world: World) -> None:
    base = stored(world.store, pickled(tiny()))
    order = FinishRound(
        round=0, base_key=base.digest, updates=[update(world.store, 0, sample_size=1)]
    )
    aggregator = world.spec(strategy="FedMagic")
    await world.gateway.finish_round(aggregator, order)
    await world.gateway.release(aggregator.training_id)
    (callback,) = world.backend.received
    assert isinstance(callback, RoundFailed)
    assert "FedMagic" in callback.reason


async def test_a_missing_blob_leaves_the_round_open_to_another_try(world: World) -> None:
    base = stored(world.store, pickled(tiny()))
    missing = UpdateRef(update_id="missing", digest="0" * 64, sample_size=1)
    aggregator = world.spec()
    with pytest.raises(ComputeUnavailable, match="BlobNotFound"):
        await world.gateway.finish_round(
            aggregator, FinishRound(round=0, base_key=base.digest, updates=[missing])
        )
    await world.gateway.release(aggregator.training_id)
    assert world.backend.received == []


async def test_releasing_a_training_without_an_aggregator_changes_nothing(world: World) -> None:
    await world.gateway.release(uuid.uuid4().hex)


def moments_ref(store: BlobStore, seed: int, *, sample_size: int) -> MomentsRef:
    """Stored moments of the tiny model, with a spread of their own."""
    first = torch.randn(66, generator=torch.Generator().manual_seed(seed))
    second = first.square() + 0.1
    return MomentsRef(
        moments_id=f"moments-{seed}",
        first_digest=stored(store, pickled(first)).digest,
        second_digest=stored(store, pickled(second)).digest,
        sample_size=sample_size,
    )


def predict_tiny(key: str, **fields: object) -> Predict:
    return Predict(model_keys=[key], values=msgspec.Raw(b"[[1, 2, 3], [0.5, -1, 0]]"), **fields)


async def test_moments_are_checked_averaged_and_predicted_with(world: World) -> None:
    base = stored(world.store, tiny_file())
    refs = [moments_ref(world.store, seed, sample_size=seed + 1) for seed in range(3)]
    for ref in refs:
        await world.gateway.check_moments(
            CheckMoments(
                first_key=ref.first_digest, second_key=ref.second_digest, base_key=base.digest
            )
        )
    aggregator = world.spec()
    order = FinishMoments(round=4, base_key=base.digest, moments=refs)
    await world.gateway.finish_moments(aggregator, order)
    await world.gateway.finish_moments(aggregator, order)
    await world.gateway.release(aggregator.training_id)

    first, second = world.backend.received
    assert isinstance(first, MomentsAggregated)
    assert first == second
    assert (first.training_id, first.round) == (aggregator.training_id, 4)
    swag = predict_tiny(
        base.digest,
        method=UncertaintyMethod.SWAG,
        moment_keys=(first.first_digest, first.second_digest),
        seed=1,
    )
    answer = msgspec.json.decode((await world.gateway.predict(swag)).content)
    assert set(answer["uncertainty"]) == {"variance", "std"}
    assert answer["uncertainty"]["std"][0][0] > 0


async def test_moments_of_another_length_are_rejected(world: World) -> None:
    base = stored(world.store, pickled(tiny()))
    short = staged(world.store, pickled(torch.ones(65)))
    with pytest.raises(Rejected, match="65 entries, expected 66"):
        await world.gateway.check_moments(
            CheckMoments(first_key=short.key, second_key=short.key, base_key=base.digest)
        )


async def test_moments_that_are_no_tensors_fail_the_round_for_good(world: World) -> None:
    ref = moments_ref(world.store, 0, sample_size=1)
    other = moments_ref(world.store, 1, sample_size=1)
    broken = msgspec.structs.replace(
        other, first_digest=stored(world.store, pickled(tiny())).digest
    )
    aggregator = world.spec()
    await world.gateway.finish_moments(
        aggregator, FinishMoments(round=0, base_key="0" * 64, moments=[ref, broken])
    )
    await world.gateway.release(aggregator.training_id)
    (callback,) = world.backend.received
    assert isinstance(callback, RoundFailed)
    assert "Sequential" in callback.reason


async def test_the_mean_of_two_models_is_written_once(world: World) -> None:
    keys = [stored(world.store, pickled(tiny(seed))).digest for seed in range(2)]
    mean = await world.gateway.make_mean(MakeMean(keys=keys))
    assert mean == await world.gateway.make_mean(MakeMean(keys=keys))
    assert (mean.format, mean.num_parameters) == (ModelFormat.PICKLED_MODULE, 66)
    expected = torch.stack([tiny(seed)[0].weight for seed in range(2)]).double().mean(0).float()
    assert torch.equal(loaded(world.store, mean.digest)["0.weight"], expected)


async def test_a_mean_of_unlike_models_is_rejected_by_the_tensors_name(world: World) -> None:
    models = (tiny(), torch.nn.Linear(2, 2))
    keys = [stored(world.store, pickled(model)).digest for model in models]
    with pytest.raises(Rejected, match=r"Member 2 .*0\.weight is missing"):
        await world.gateway.make_mean(MakeMean(keys=keys))


async def test_a_prediction_is_encoded(world: World) -> None:
    model = stored(world.store, pickled(tiny()))
    prediction = await world.gateway.predict(predict_tiny(model.digest, input_shape=[None, 3]))
    assert prediction.content == b'{"inference":[0,1],"uncertainty":{}}'


async def test_an_input_of_another_shape_is_rejected(world: World) -> None:
    model = stored(world.store, pickled(tiny()))
    with pytest.raises(Rejected, match=r"Input shape does not match model input shape\.") as caught:
        await world.gateway.predict(predict_tiny(model.digest, input_shape=[None, 4]))
    assert caught.value.reason is RejectionReason.BAD_INPUT


async def test_predicting_with_a_model_that_is_not_there_can_be_asked_for_again(
    world: World,
) -> None:
    with pytest.raises(ComputeUnavailable, match="BlobNotFound"):
        await world.gateway.predict(predict_tiny("0" * 64))


async def test_a_model_that_wants_too_much_memory_is_rejected_and_harms_nobody(
    world: World,
) -> None:
    greedy = stored(world.store, torchscript(Greedy()))
    model = stored(world.store, pickled(tiny()))
    with pytest.raises(Rejected, match="more memory than it may") as caught:
        await world.gateway.predict(predict_tiny(greedy.digest))
    assert caught.value.reason is RejectionReason.TOO_LARGE
    assert (await world.gateway.predict(predict_tiny(model.digest))).content


async def test_before_it_is_started_it_is_not_ready_and_takes_no_work(tmp_path: Path) -> None:
    for gateway in (InProcessGateway(tmp_path.as_uri()), RayGateway(RayConfig(tmp_path.as_uri()))):
        assert not (await gateway.health()).ready
        state = await gateway.cluster_state()
        assert (state.ready, state.detail, state.nodes) == (False, "not started", [])
        with pytest.raises(ComputeUnavailable):
            await gateway.check_model(CheckModel(key="staged/" + "0" * 32))
