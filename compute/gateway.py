"""The one door from the backend to compute: a protocol and its two implementations."""

from typing import Protocol

from compute.contract import (
    AggregatorSpec,
    CheckModel,
    CheckMoments,
    CheckPreprocessing,
    CheckUpdate,
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


class ComputeUnavailable(Exception):
    """The cluster is not there (yet), or lost the call half-way; the same call may be repeated."""


class ComputeGateway(Protocol):
    """What the backend may ask of compute.

    Constraints: every method is idempotent and MAY be repeated after `ComputeUnavailable`.
    """

    async def start(self) -> None:
        """Connect to the cluster or start it; returns when it takes work."""

    async def stop(self) -> None:
        """Disconnect; an embedded cluster ends, with every process it started."""

    async def health(self) -> ComputeHealth:
        """How the cluster is, without waiting for it and without raising."""
        ...

    async def cluster_state(self) -> ClusterState:
        """What the cluster has and runs; takes seconds at most and never raises."""
        ...

    async def check_model(self, order: CheckModel) -> ModelReport:
        """What the model is. Raises `Rejected` or `ComputeUnavailable`."""
        ...

    async def check_preprocessing(self, order: CheckPreprocessing) -> None:
        """Raises `Rejected` or `ComputeUnavailable`."""

    async def check_update(self, order: CheckUpdate) -> UpdateReport:
        """What the update is. Raises `Rejected` or `ComputeUnavailable`."""
        ...

    async def fold(
        self, spec: AggregatorSpec, round: int, base_key: str, update: UpdateRef
    ) -> None:
        """Fold one accepted update ahead of the end of the round; a repeat changes nothing."""

    async def finish_round(self, spec: AggregatorSpec, order: FinishRound) -> None:
        """Aggregate the round; returns after its callback was delivered.

        Raises `ComputeUnavailable` when the aggregator died on the way: order it again.
        """

    async def check_moments(self, order: CheckMoments) -> None:
        """Raises `Rejected` or `ComputeUnavailable`."""

    async def finish_moments(self, spec: AggregatorSpec, order: FinishMoments) -> None:
        """Aggregate SWAG moments; returns after the callback was delivered. As `finish_round`."""

    async def make_mean(self, order: MakeMean) -> MeanModel:
        """The mean of models of one architecture. Raises `Rejected` or `ComputeUnavailable`."""
        ...

    async def make_dummy_model(self, order: MakeDummyModel) -> DummyModel:
        """The network of the demo data. Raises `ComputeUnavailable`."""
        ...

    async def write_state_dict(self, order: WriteStateDict) -> WrittenStateDict:
        """A model's tensors as safetensors. Raises `Rejected` or `ComputeUnavailable`."""
        ...

    async def predict(self, order: Predict) -> Prediction:
        """The prediction, encoded. Raises `Rejected` or `ComputeUnavailable`."""
        ...

    async def release(self, training_id: str) -> None:
        """Let go of the training's aggregator, if there is one."""
