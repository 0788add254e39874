"""The Ray gateway when things die, hang or take too much; each on a real Ray."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, nn

from compute.aggregator import Aggregator
from compute.blobs import BlobStore, open_blob_store
from compute.contract import (
    CheckModel,
    FinishRound,
    Rejected,
    RejectionReason,
    RoundAggregated,
)
from compute.gateway import ComputeUnavailable
from compute.ray_gateway import RayGateway
from tests.compute.callback_server import CallbackServer
from tests.compute.models import spec, staged, stored, update
from tests.model_files import pickled, tiny, tiny_file, torchscript

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Two of Ray's agents take a minute to notice that their head was killed.
PATIENCE_SECONDS = 100.0


class Endless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        while bool(torch.isfinite(x).all()):
            x = torch.tanh(self.layer(x))
        return x


class Greedy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        hoard = [x]
        for _ in range(4096):
            hoard.append(torch.ones(64, 1024, 1024))  # noqa: PERF401 - TorchScript runs it as it stands
        return torch.cat(hoard)


@pytest.fixture
def store(blob_url: str) -> BlobStore:
    return open_blob_store(blob_url)


@pytest.fixture
def impatient(ray_gateway: RayGateway) -> Iterator[RayGateway]:
    """The gateway with narrow limits."""
    usual = ray_gateway._config
    ray_gateway._config = replace(usual, check_timeout_seconds=4.0, check_memory_bytes=2 * 1024**3)
    yield ray_gateway
    ray_gateway._config = usual


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        await asyncio.sleep(0.05)


def checking_workers() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process_name(process) == "ray::run_check"
    ]


def process_name(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:
        return ""  # it ended meanwhile


async def test_a_check_that_does_not_end_is_cut_off(
    impatient: RayGateway, store: BlobStore
) -> None:
    await impatient.check_model(CheckModel(key=staged(store, pickled(tiny())).key))
    upload = staged(store, torchscript(Endless()))
    with pytest.raises(Rejected, match="took longer than 4 seconds") as caught:
        await impatient.check_model(CheckModel(key=upload.key, input_shape=[1, 3]))
    assert caught.value.reason is RejectionReason.TIMED_OUT
    await until(lambda: not checking_workers())


async def test_a_model_that_takes_all_memory_when_run_gets_no_statistics(
    impatient: RayGateway, store: BlobStore
) -> None:
    upload = staged(store, torchscript(Greedy()))
    report = await impatient.check_model(CheckModel(key=upload.key, input_shape=[1, 3]))
    assert report.stats is None
    assert report.num_parameters == 12


async def test_a_check_outlives_deaths_of_its_worker_and_is_rejected_at_the_third(
    ray_gateway: RayGateway, store: BlobStore
) -> None:
    upload = staged(store, torchscript(Endless()))
    order = CheckModel(key=upload.key, input_shape=[1, 3])
    check = asyncio.create_task(ray_gateway.check_model(order))
    killed: set[psutil.Process] = set()
    for _ in range(3):
        assert not check.done()
        await until(lambda: bool(set(checking_workers()) - killed))
        for worker in checking_workers():
            killed.add(worker)
            worker.kill()
    with pytest.raises(Rejected, match="ended the process") as caught:
        await check
    assert caught.value.reason is RejectionReason.UNSAFE


async def test_checks_go_on_at_the_same_time(ray_gateway: RayGateway, store: BlobStore) -> None:
    uploads = [staged(store, pickled(tiny(seed))) for seed in range(8)]
    reports = await asyncio.gather(
        *(ray_gateway.check_model(CheckModel(key=upload.key)) for upload in uploads)
    )
    assert [report.num_parameters for report in reports] == [66] * 8


async def test_an_aggregator_killed_in_mid_round_gives_the_undisturbed_model(
    ray_gateway: RayGateway, store: BlobStore, blob_url: str, backend: CallbackServer
) -> None:
    base = stored(store, tiny_file())
    updates = [update(store, seed, sample_size=seed + 1, scripted=True) for seed in range(4)]
    aggregator = spec(blob_url, backend.target, training_id=uuid.uuid4().hex)
    order = FinishRound(round=0, base_key=base.digest, updates=updates)

    for accepted in updates[:2]:
        await ray_gateway.fold(aggregator, 0, base.digest, accepted)
    os.kill(await ray_gateway.aggregator_process_id(aggregator), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            await ray_gateway.finish_round(aggregator, order)
            break
        except ComputeUnavailable:
            assert time.monotonic() < deadline
    await ray_gateway.finish_round(aggregator, order)
    await ray_gateway.release(aggregator.training_id)

    undisturbed = Aggregator(aggregator, store, torch.device("cpu")).finish_round(order)
    assert isinstance(undisturbed, RoundAggregated)
    digests = {
        callback.digest for callback in backend.received if isinstance(callback, RoundAggregated)
    }
    assert digests == {undisturbed.digest}


async def test_a_released_aggregator_serves_the_next_training_and_one_too_many_is_ended(
    ray_gateway: RayGateway, blob_url: str, backend: CallbackServer
) -> None:
    specs = [spec(blob_url, backend.target, training_id=uuid.uuid4().hex) for _ in range(3)]
    processes = [await ray_gateway.aggregator_process_id(each) for each in specs]
    assert len(set(processes)) == 3
    for each in specs:
        await ray_gateway.release(each.training_id)
    await until(lambda: sum(psutil.pid_exists(process) for process in processes) == 1)
    kept = next(process for process in processes if psutil.pid_exists(process))
    following = spec(blob_url, backend.target, training_id=uuid.uuid4().hex)
    assert await ray_gateway.aggregator_process_id(following) == kept
    await ray_gateway.release(following.training_id)


async def test_trainings_beyond_the_limit_share_aggregators_and_lose_nothing(
    ray_gateway: RayGateway, store: BlobStore, blob_url: str, backend: CallbackServer
) -> None:
    base = stored(store, tiny_file())
    updates = [update(store, seed, sample_size=seed + 1, scripted=True) for seed in range(3)]
    specs = [spec(blob_url, backend.target, training_id=uuid.uuid4().hex) for _ in range(3)]
    usual = ray_gateway._config
    ray_gateway._config = replace(usual, aggregators=1)
    try:
        for accepted in updates[:2]:
            for each in specs:  # each takes the aggregator from the one before
                await ray_gateway.fold(each, 0, base.digest, accepted)
        processes = {await ray_gateway.aggregator_process_id(each) for each in specs}
        assert len(processes) == 1
        order = FinishRound(round=0, base_key=base.digest, updates=updates)
        for each in specs:
            await ray_gateway.finish_round(each, order)
    finally:
        ray_gateway._config = usual
        for each in specs:
            await ray_gateway.release(each.training_id)

    undisturbed = Aggregator(specs[0], store, torch.device("cpu")).finish_round(order)
    assert isinstance(undisturbed, RoundAggregated)
    reported = [each for each in backend.received if isinstance(each, RoundAggregated)]
    assert [each.training_id for each in reported] == [each.training_id for each in specs]
    assert {each.digest for each in reported} == {undisturbed.digest}


def run_program(program: str, blob_url: str) -> "subprocess.Popen[str]":
    """A process with a gateway of its own, run from a folder that is not the project's."""
    prelude = """
        import asyncio, os, signal, sys
        from compute.blobs import open_blob_store
        from compute.cluster import RayConfig
        from compute.contract import CheckModel, Rejected
        from compute.gateway import ComputeUnavailable
        from compute.ray_gateway import RayGateway
        gateway = RayGateway(
            RayConfig(blob_url=sys.argv[1], include_dashboard=False, keep_ready=False)
        )
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(program), blob_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


@pytest.mark.parametrize("victim", ["gcs_server", "raylet"])
async def test_when_the_embedded_cluster_dies_calls_fail_and_another_is_started(
    victim: str, store: BlobStore, blob_url: str
) -> None:
    endless = staged(store, torchscript(Endless())).key
    honest = staged(store, pickled(tiny())).key
    program = f"""
        import psutil

        async def main():
            await gateway.start()
            check = asyncio.create_task(
                gateway.check_model(CheckModel(key="{endless}", input_shape=[1, 3])))
            children = psutil.Process().children
            while not any("ray::run_check" in p.name() or p.cmdline()[:1] == ["ray::run_check"]
                          for p in children(recursive=True)):
                await asyncio.sleep(0.1)
            for process in children():
                if process.name() == "{victim}":
                    process.kill()
            # Asked before the loss is noticed: a call that waited for the head would end all. Most
            # wait for a turn, which comes when the cluster is lost.
            late = [asyncio.create_task(
                gateway.check_model(CheckModel(key="{endless}", input_shape=[1, 3])))
                for _ in range(5)]
            for call in (check, *late):
                try:
                    await call
                except ComputeUnavailable as error:
                    print("unavailable", error)
            print("ready", (await gateway.health()).ready)
            while not (await gateway.health()).ready:
                await asyncio.sleep(0.1)
            print(await gateway.check_model(CheckModel(key="{honest}")))
            print("heads", [p.name() for p in children()].count("gcs_server"))
            await gateway.stop()
            print("torch", "torch" in sys.modules)

        asyncio.run(main())
    """
    process = run_program(program, blob_url)
    output, _ = await asyncio.to_thread(process.communicate, timeout=200)
    assert process.returncode == 0, output
    assert output.count("unavailable") == 6
    assert "heads 1" in output
    assert "ready False" in output
    assert "num_parameters=66" in output
    assert "torch False" in output


async def test_a_cluster_that_does_not_come_up_in_time_leaves_nothing_behind_and_is_tried_again(
    blob_url: str,
) -> None:
    # Ray waits half a minute for its node and then raises a plain Exception; what is faked is that
    # the time is over, when all its processes run.
    program = """
        import psutil
        from ray._private import services

        get_node = services.get_node

        def late(*_):
            raise Exception("The current node timed out during startup.")

        async def main():
            services.get_node = late
            try:
                await gateway.start()
            except ComputeUnavailable as error:
                print("unavailable", error)
            print("left", [p.name() for p in psutil.Process().children(recursive=True)])
            services.get_node = get_node
            await gateway.start()
            print("ready", (await gateway.health()).ready)
            await gateway.stop()

        asyncio.run(main())
    """
    process = run_program(program, blob_url)
    output, _ = await asyncio.to_thread(process.communicate, timeout=200)
    assert process.returncode == 0, output
    assert "unavailable no cluster: The current node timed out" in output
    assert "left []" in output
    assert "ready True" in output


async def test_who_looks_at_a_cluster_that_hangs_is_told_in_time(blob_url: str) -> None:
    program = """
        import time
        import psutil

        async def timed():
            began = time.monotonic()
            state = await gateway.cluster_state()
            print(state.ready, state.detail, "in time", time.monotonic() - began < 10)

        async def main():
            await gateway.start()
            await timed()
            (head,) = (p for p in psutil.Process().children() if p.name() == "gcs_server")
            gateway._session.looked_at = 0.0
            head.suspend()
            try:
                # Many who look are one look.
                await asyncio.gather(*(timed() for _ in range(20)))
                print("looks", len(gateway._in_threads))
            finally:
                head.resume()
            while not (await gateway.cluster_state()).ready:
                await asyncio.sleep(0.1)
            head.kill()
            while (await gateway.health()).ready:
                await asyncio.sleep(0.1)
            await timed()
            await gateway.stop()

        asyncio.run(main())
    """
    process = run_program(program, blob_url)
    output, _ = await asyncio.to_thread(process.communicate, timeout=200)
    assert process.returncode == 0, output
    healthy, *hanging, looks, lost = output.splitlines()
    assert healthy == "True  in time True"
    assert hanging == ["False The cluster does not answer within 3 seconds. in time True"] * 20
    assert looks == "looks 1"
    assert lost in {"False lost in time True", "False starting in time True"}


async def test_who_waited_for_a_turn_starts_no_cluster_when_it_comes_too_late(
    blob_url: str,
) -> None:
    program = """
        import psutil
        import ray

        async def main():
            await gateway.start()
            session = gateway._session
            for _ in range(int(session.cpus)):
                await session.check_slots.acquire()
            late = asyncio.create_task(gateway.check_model(CheckModel(key="0" * 64)))
            while not session.check_slots._waiters:
                await asyncio.sleep(0)
            for process in psutil.Process().children():
                if process.name() == "gcs_server":
                    process.kill()
            while ray.is_initialized():
                await asyncio.sleep(0)
            session.check_slots.release()
            try:
                await late
            except ComputeUnavailable as error:
                print("unavailable", error)
            while not (await gateway.health()).ready:
                await asyncio.sleep(0.1)
            print("heads", [p.name() for p in psutil.Process().children()].count("gcs_server"))
            await gateway.stop()

        asyncio.run(main())
    """
    process = run_program(program, blob_url)
    output, _ = await asyncio.to_thread(process.communicate, timeout=200)
    assert process.returncode == 0, output
    assert "unavailable" in output
    assert "heads 1" in output


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_an_embedded_cluster_ends_with_the_process_that_started_it(
    end: str, blob_url: str
) -> None:
    program = """
        async def main():
            await gateway.start()
            print("started", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await gateway.stop()

        asyncio.run(main())
    """
    process = run_program(program, blob_url)
    assert process.stdout is not None
    assert process.stdin is not None
    assert await asyncio.to_thread(process.stdout.readline) == "started\n"
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    if end == "kill":
        process.kill()
    process.stdin.close()
    await asyncio.to_thread(process.wait)
    process.stdout.close()
    _, alive = await asyncio.to_thread(psutil.wait_procs, started, PATIENCE_SECONDS)
    assert alive == []


async def test_who_waits_is_told_before_ray_shuts_down_under_them(blob_url: str) -> None:
    # A handle that they drop later would have Ray end the process with code 1.
    program = """
        import time
        import ray
        from compute import cluster

        async def main():
            await gateway.start()
            task = ray.remote(num_cpus=0)(lambda seconds: time.sleep(seconds))
            waiting = [
                asyncio.create_task(gateway._result(gateway._session, task.remote(60)))
                for _ in range(5)
            ]
            while len(gateway._waiting) < 5:
                await asyncio.sleep(0)
            shut_down = cluster.stop

            def stop():
                print("told", sum(each.done() for each in waiting))
                shut_down()

            cluster.stop = stop
            await gateway.stop()
            for each in waiting:
                print(each.exception())

        asyncio.run(main())
    """
    process = run_program(program, blob_url)
    output, _ = await asyncio.to_thread(process.communicate, timeout=200)
    assert process.returncode == 0, output
    assert output.splitlines() == ["told 5", *["The compute cluster was lost during the call."] * 5]
