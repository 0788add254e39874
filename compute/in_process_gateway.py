"""The gateway without a cluster: the same workers as plain objects in threads of this process.

For tests and tools. It loads torch into the process, and nothing limits the time or memory of a
check or a prediction.
"""

import asyncio
import os
import socket

import psutil

from compute.actors import AggregatorActor, CheckOrder, CheckReport, PredictorActor, run_check
from compute.contract import (
    ActorKind,
    AggregatorSpec,
    CheckModel,
    CheckMoments,
    CheckPreprocessing,
    CheckUpdate,
    ClusterActor,
    ClusterNode,
    ClusterState,
    ComputeHealth,
    DummyModel,
    FinishMoments,
    FinishRound,
    MakeDummyModel,
    MakeMean,
    MeanModel,
    ModelReport,
    Predict,
    Prediction,
    UpdateRef,
    UpdateReport,
    WriteStateDict,
    WrittenStateDict,
)
from compute.gateway import ComputeUnavailable
from compute.gateway_outcomes import expected, unpacked


class InProcessGateway:
    """A `ComputeGateway` whose workers live in this process."""

    def __init__(self, blob_url: str) -> None:
        self._blob_url = blob_url
        self._aggregators: dict[str, AggregatorActor] = {}
        self._predictor: PredictorActor | None = None
        self._predicted_key: str | None = None
        self._started = False

    async def start(self) -> None:
        self._started = True

    async def stop(self) -> None:
        self._started = False
        self._aggregators.clear()
        self._predictor = None

    async def health(self) -> ComputeHealth:
        if not self._started:
            return ComputeHealth(ready=False, detail="not started")
        return ComputeHealth(ready=True, cpus=float(os.cpu_count() or 1))

    async def cluster_state(self) -> ClusterState:
        """One node, which is this machine."""
        if not self._started:
            return ClusterState(ready=False, detail="not started", embedded=True)
        memory = psutil.virtual_memory()
        node = ClusterNode(
            id="in-process",
            name=socket.gethostname(),
            address="127.0.0.1",
            alive=True,
            head=True,
            cpus=float(os.cpu_count() or 1),
            memory_bytes=memory.total,
            memory_used_bytes=memory.total - memory.available,
        )
        actors = [
            _in_this_process(ActorKind.AGGREGATOR, training_id=training_id)
            for training_id in self._aggregators
        ]
        if self._predictor is not None:
            actors.append(_in_this_process(ActorKind.PREDICTOR, model_key=self._predicted_key))
        return ClusterState(ready=True, embedded=True, nodes=[node], actors=actors)

    async def check_model(self, order: CheckModel) -> ModelReport:
        return expected(ModelReport, await self._check(order))

    async def check_preprocessing(self, order: CheckPreprocessing) -> None:
        await self._check(order)

    async def check_update(self, order: CheckUpdate) -> UpdateReport:
        return expected(UpdateReport, await self._check(order))

    async def fold(
        self,
        spec: AggregatorSpec,
        round: int,
        base_key: str,
        update: UpdateRef,
    ) -> None:
        unpacked(
            await asyncio.to_thread(self._aggregator(spec).fold, spec, round, base_key, update)
        )

    async def finish_round(self, spec: AggregatorSpec, order: FinishRound) -> None:
        unpacked(await asyncio.to_thread(self._aggregator(spec).finish_round, spec, order))

    async def release(self, training_id: str) -> None:
        self._aggregators.pop(training_id, None)

    async def check_moments(self, order: CheckMoments) -> None:
        await self._check(order)

    async def finish_moments(self, spec: AggregatorSpec, order: FinishMoments) -> None:
        unpacked(await asyncio.to_thread(self._aggregator(spec).finish_moments, spec, order))

    async def make_mean(self, order: MakeMean) -> MeanModel:
        return expected(MeanModel, await self._check(order))

    async def make_dummy_model(self, order: MakeDummyModel) -> DummyModel:
        return expected(DummyModel, await self._check(order))

    async def write_state_dict(self, order: WriteStateDict) -> WrittenStateDict:
        return expected(WrittenStateDict, await self._check(order))

    async def predict(self, order: Predict) -> Prediction:
        self._require_started()
        if self._predictor is None:
            self._predictor = PredictorActor(self._blob_url)
        self._predicted_key = order.model_keys[0]
        (answer,) = unpacked(await asyncio.to_thread(self._predictor.predict_all, [order]))
        return unpacked(answer)

    async def _check(self, order: CheckOrder) -> CheckReport:
        self._require_started()
        return unpacked(await asyncio.to_thread(run_check, self._blob_url, order, None))

    def _aggregator(self, spec: AggregatorSpec) -> AggregatorActor:
        self._require_started()
        return self._aggregators.setdefault(spec.training_id, AggregatorActor())

    def _require_started(self) -> None:
        if not self._started:
            message = "The compute gateway is not started."
            raise ComputeUnavailable(message)


def _in_this_process(
    kind: ActorKind, *, training_id: str | None = None, model_key: str | None = None
) -> ClusterActor:
    return ClusterActor(
        id=f"{kind}-{training_id or 'all'}",
        name=kind,
        kind=kind,
        state="ALIVE",
        node_id="in-process",
        pid=os.getpid(),
        training_id=training_id,
        model_key=model_key,
    )
