"""Predictors on Ray when a model hangs or its process dies; on a real Ray."""

import asyncio
import signal
from collections.abc import Callable

import msgspec
import psutil
import pytest

from compute.blobs import BlobStore, open_blob_store
from compute.contract import Predict, Rejected, RejectionReason, UncertaintyMethod
from compute.ray_gateway import RayGateway
from tests.compute.models import Endless, stored
from tests.model_files import pickled, tiny, tiny_file, torchscript

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def store(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


def asked(key: str) -> Predict:
    return Predict(model_keys=[key], values=msgspec.Raw(b"[[1, 2, 3]]"))


def predicting_workers() -> list[psutil.Process]:
    workers = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "PredictorActor" in process.cmdline()[0]:
                workers.append(process)
        except (psutil.Error, IndexError):
            continue  # ended meanwhile
    return workers


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.02)


async def test_a_model_that_never_answers_is_cut_off_and_keeps_no_other_waiting(
    ray_gateway: RayGateway, store: BlobStore
) -> None:
    endless = stored(store, torchscript(Endless())).digest
    model = stored(store, pickled(tiny())).digest
    hung = [asyncio.create_task(ray_gateway.predict(asked(endless))) for _ in range(2)]
    answers = [await ray_gateway.predict(asked(model)) for _ in range(3)]
    # Both were asked for before the others answered, and the second still waits for its turn.
    assert not hung[1].done()
    for task in hung:
        with pytest.raises(Rejected, match="takes longer than 8 seconds") as caught:
            await task
        assert caught.value.reason is RejectionReason.TIMED_OUT
    assert len(set(answers)) == 1
    assert await ray_gateway.predict(asked(model)) == answers[0]


async def test_a_prediction_outlives_the_death_of_its_process(
    ray_gateway: RayGateway, store: BlobStore
) -> None:
    model = stored(store, pickled(tiny())).digest
    answer = await ray_gateway.predict(asked(model))
    workers = predicting_workers()
    assert workers
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    psutil.wait_procs(workers)
    assert await ray_gateway.predict(asked(model)) == answer


async def test_a_cancelled_request_frees_its_predictor_for_the_next(
    ray_gateway: RayGateway, store: BlobStore
) -> None:
    model = stored(store, pickled(tiny())).digest
    answer = await ray_gateway.predict(asked(model))
    for _ in range(5):
        given_up = asyncio.create_task(ray_gateway.predict(asked(model)))
        await asyncio.sleep(0)
        given_up.cancel()
    assert await ray_gateway.predict(asked(model)) == answer


async def test_a_predictor_is_there_before_the_first_prediction(ray_gateway: RayGateway) -> None:
    await until(predicting_workers)


async def test_predictions_under_load_outlive_kills_of_every_predictor(
    ray_gateway: RayGateway, store: BlobStore
) -> None:
    keys = [stored(store, torchscript(tiny(seed))).digest for seed in range(2)]
    expected = {key: await ray_gateway.predict(asked(key)) for key in keys}
    wrong: list[object] = []
    stopped = asyncio.Event()
    answered = 0

    async def keep_asking(key: str) -> None:
        nonlocal answered
        while not stopped.is_set():
            answer = await ray_gateway.predict(asked(key))
            answered += 1
            if answer != expected[key]:
                wrong.append(answer)

    tasks = [asyncio.create_task(keep_asking(key)) for key in keys for _ in range(8)]
    for _ in range(2):
        so_far = answered
        await until(lambda: answered >= so_far + 100)  # noqa: B023 - awaited here
        killed = predicting_workers()
        assert killed
        for worker in killed:
            worker.send_signal(signal.SIGKILL)
        psutil.wait_procs(killed)
    so_far = answered
    await until(lambda: answered >= so_far + 100)
    stopped.set()
    await asyncio.gather(*tasks)
    assert not wrong


async def test_requests_that_come_together_are_answered_each_for_itself(
    ray_gateway: RayGateway, store: BlobStore
) -> None:
    key = stored(store, tiny_file()).digest
    values = [msgspec.Raw(f"[[{n}, 2, {-n}]]".encode()) for n in range(40)]
    orders = [
        Predict(
            model_keys=[key], values=each, method=UncertaintyMethod.MC_DROPOUT, samples=5, seed=n
        )
        for n, each in enumerate(values)
    ]
    alone = [await ray_gateway.predict(order) for order in orders]
    bad = msgspec.structs.replace(orders[0], values=msgspec.Raw(b"[[1]]"))
    together = await asyncio.gather(
        *(ray_gateway.predict(order) for order in [*orders, bad]), return_exceptions=True
    )
    assert together[:-1] == alone
    assert isinstance(together[-1], Rejected)
