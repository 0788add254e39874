"""Virtual participants on Ray: one actor per CPU, and few large calls.

An actor holds the participants' data and is handed blocks; the global model is put into Ray's
object store once per round. A worker that dies is started again by Ray, and its calls are repeated,
which changes nothing: a block's outcome depends on the block and the model only.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar, cast

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from compute import cluster
from compute.simulation.contract import SimulationFailed
from compute.simulation.participants import Block, Trained, VirtualParticipants
from compute.simulation.workers import train_checked
from compute.state_dicts import StateDict

# Calls that a worker has at a time: with one more than it works on it need not wait for this side.
CALLS_PER_WORKER = 2

_Result = TypeVar("_Result")


class _RemoteMethod(Protocol[_Result]):
    def remote(self, *arguments: object) -> "ray.ObjectRef[_Result]": ...


class _WorkerHandle(Protocol):
    """What Ray makes of `Worker`; its own handles are not typed."""

    @property
    def train(self) -> _RemoteMethod[Trained | str]: ...

    @property
    def test(self) -> _RemoteMethod[dict[str, float]]: ...


# In a list: Ray passes on the reference, where it would unpickle the participants for each call.
_Shared = list["ray.ObjectRef[VirtualParticipants]"]


class Worker:
    """Holds the participants in a process of its own, which has one CPU and one thread.

    They come with the calls and not with the constructor: so a restarted worker has them again.
    """

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self._participants: VirtualParticipants | None = None

    def train(self, shared: _Shared, base: StateDict, block: Block) -> Trained | str:
        """See `VirtualParticipants.train`; why there is none comes back as text."""
        try:
            return train_checked(self._held(shared), base, block)
        except SimulationFailed as failed:
            return str(failed)

    def test(self, shared: _Shared, state: StateDict) -> dict[str, float]:
        """See `VirtualParticipants.test`."""
        return self._held(shared).test(state)

    def _held(self, shared: _Shared) -> VirtualParticipants:
        if self._participants is None:
            self._participants = ray.get(shared[0])
        return self._participants


class RayWorkers:
    """Workers on the cluster that this process is connected to.

    Args:
        count: How many; None: one per CPU of the cluster.

    Raises:
        SimulationFailed: the participants cannot be sent to them.
    """

    def __init__(self, participants: VirtualParticipants, count: int | None = None) -> None:
        if count is None:
            count = max(1, int(ray.cluster_resources().get("CPU", 1)))
        make = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(Worker)
        try:
            self._shared: _Shared = [ray.put(participants)]
        except TypeError as error:
            raise SimulationFailed(f"The participants cannot be pickled: {error}") from error
        self._workers: list[_WorkerHandle] = [
            cast("_WorkerHandle", make.remote()) for _ in range(count)
        ]

    def __len__(self) -> int:
        return len(self._workers)

    def train(self, base: StateDict, blocks: Sequence[Block]) -> Iterator[Trained]:
        """Keeps every worker busy, and no more results than are soon needed."""
        model = ray.put(base)
        waiting: dict[ray.ObjectRef[Trained | str], tuple[int, int]] = {}
        calls = [0] * len(self._workers)
        finished: dict[int, ray.ObjectRef[Trained | str]] = {}
        begun = given = 0
        while given < len(blocks):
            while (
                begun < len(blocks)
                and begun - given < (CALLS_PER_WORKER + 1) * len(self._workers)
                and min(calls) < CALLS_PER_WORKER
            ):
                chosen = calls.index(min(calls))
                reference = self._workers[chosen].train.remote(self._shared, model, blocks[begun])
                waiting[reference] = (begun, chosen)
                calls[chosen] += 1
                begun += 1
            while given in finished:
                yield _fetched(finished.pop(given))
                given += 1
            if waiting:
                ready, _ = ray.wait(list(waiting), num_returns=1)
                for reference in ready:
                    index, worker = waiting.pop(reference)
                    calls[worker] -= 1
                    finished[index] = reference

    def test(self, state: StateDict) -> dict[str, float]:
        """By the first worker."""
        try:
            return ray.get(self._workers[0].test.remote(self._shared, state))
        except RayError as error:
            raise SimulationFailed(_reason(error)) from error


@contextlib.contextmanager
def connected(address: str | None, num_cpus: int | None) -> Iterator[None]:
    """A cluster: the one that this process is connected to, or else as `cluster.start` has it.

    Raises:
        ConnectionError: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    cluster.start(cluster.RayConfig(address=address, num_cpus=num_cpus, include_dashboard=False))
    try:
        yield
    finally:
        cluster.stop()


def _fetched(reference: "ray.ObjectRef[Trained | str]") -> Trained:
    try:
        outcome = ray.get(reference)
    except RayError as error:
        raise SimulationFailed(_reason(error)) from error
    if isinstance(outcome, str):
        raise SimulationFailed(outcome)
    return outcome


def _reason(error: RayError) -> str:
    if isinstance(error, RayTaskError):
        cause = error.cause
        return f"The training function failed: {type(cause).__name__}: {cause}"
    return f"A worker failed: {error}"
