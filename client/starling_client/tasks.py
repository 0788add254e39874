"""What a participant is asked for, as something to work on and to deliver."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TypeVar, overload
from uuid import UUID

import httpx
import torch
from torch import Tensor, nn

from starling_client.calls import CHECKED_TIMEOUT_SECONDS, Call, Operation, decoded, metric_fields
from starling_client.connection import AsyncConnection, Connection, logger
from starling_client.course import Course, TaskKind, Work
from starling_client.errors import (
    BadSubmission,
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Refused,
    TrainingEnded,
)
from starling_client.model_files import (
    StateDict,
    load_into_,
    load_module,
    load_state,
    tensor_bytes,
    write_state,
)
from starling_client.swag import SwagMoments
from starling_client.transfers import (
    RESUMABLE_FROM_BYTES,
    SAFETENSORS,
    FileBody,
    ModelFiles,
    digest_header,
    upload_in_parts,
)
from starling_client.wire import Detail

NetworkT = TypeVar("NetworkT", bound=nn.Module)
"""The class of your own network: what was passed is what comes back."""

Submitted = nn.Module | Mapping[str, Tensor] | SwagMoments
"""A trained model, its state dict, or the moments of a SWAG round."""


class Outcome(Enum):
    """What became of something that was submitted.

    Attributes:
        ACCEPTED: It counts.
        TOO_LATE: The round, or the training, is over.
        DELIVERED_BEFORE: Another process of the participant was quicker, or this one, before it
            crashed.
    """

    ACCEPTED = "accepted"
    TOO_LATE = "too late"
    DELIVERED_BEFORE = "delivered before"


@dataclass(frozen=True)
class Receipt:
    """The server's answer to a submission.

    Attributes:
        outcome: Whether it counts, and if not, why.
        detail: Its sentence.
    """

    outcome: Outcome
    detail: str

    @property
    def accepted(self) -> bool:
        """Whether this submission counts."""
        return self.outcome is Outcome.ACCEPTED


class Assignment:
    """What a task is about; `Task` and `AsyncTask` are its two ways to work on it.

    Attributes:
        kind: What is asked for.
        round: 0-based for training; else the number of aggregations behind the model.
        mu: Weight of FedProx's proximal term; 0 with other methods.
        deadline: When it is too late; None: never.
    """

    def __init__(self, work: Work, course: Course, files: ModelFiles, folder: Path) -> None:
        self.kind: TaskKind = work.kind
        self.round: int = work.round
        self.mu: float = work.mu
        self.deadline: datetime | None = work.deadline
        self._work = work
        self._course = course
        self._files = files
        self._folder = folder
        self._downloaded: Path | None = None
        self._global: StateDict | None = None

    @property
    def training_id(self) -> UUID:
        """Of the training that it belongs to."""
        return self._work.training_id

    @property
    def is_training(self) -> bool:
        """Whether the model is to be trained and sent back."""
        return self.kind is TaskKind.TRAIN

    @property
    def is_evaluation(self) -> bool:
        """Whether metrics of the global model are wanted, and nothing else."""
        return self.kind is TaskKind.EVALUATE

    @property
    def collects_moments(self) -> bool:
        """Whether SWAG moments are wanted: train as usual, and submit a `SwagMoments`."""
        return self.kind is TaskKind.COLLECT_MOMENTS

    @property
    def global_parameters(self) -> Mapping[str, Tensor]:
        """Every tensor of the global model as it was downloaded, by name; for `proximal`.

        Raises:
            BadSubmission: the model was not downloaded yet.
        """
        if self._global is None:
            path = self._downloaded
            if path is None:
                raise BadSubmission("Call task.model() before asking for its parameters.")
            if path.suffix == ".safetensors":
                self._global = load_state(path)
            else:
                module = load_module(path)
                self._global = {name: t.detach() for name, t in module.state_dict().items()}
        return self._global

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.kind.value}, round {self.round}>"

    def _fetch_module(self) -> Operation[nn.Module]:
        path = yield from self._files.fetch(self._work.model_id, "original")
        self._downloaded, self._global = path, None
        return _in_mode(load_module(path), training=not self.is_evaluation)

    def _fetch_into(self, network: NetworkT) -> Operation[NetworkT]:
        path = yield from self._files.fetch(self._work.model_id, "safetensors")
        self._downloaded, self._global = path, None
        load_into_(network, path)
        return _in_mode(network, training=not self.is_evaluation)

    def _deliver(
        self,
        model: Submitted | None,
        metrics: Mapping[str, float] | None,
        sample_size: int | None,
    ) -> Operation[Receipt]:
        figures = dict(metrics or {})
        if self.is_evaluation:
            delivery = self._deliver_metrics(figures)
        else:
            _require_sample_size(sample_size)
            if self.collects_moments:
                delivery = self._deliver_moments(model, int(sample_size or 0))
            else:
                delivery = self._deliver_update(model, figures, int(sample_size or 0))
        try:
            answer = yield from delivery
        except (Conflict, InvalidRequest, NotAllowed, NotFound) as refusal:
            receipt = yield from self._explained(refusal)
        else:
            receipt = Receipt(Outcome.ACCEPTED, answer)
        if not receipt.accepted:
            logger.warning(
                "%r was not counted, %s: %s", self, receipt.outcome.value, receipt.detail
            )
        return receipt

    def _explained(self, refusal: Refused) -> Operation[Receipt]:
        """Why something was refused: because it is over or done, which is nobody's mistake.

        Raises:
            Refused: neither; something is wrong with what was sent.
        """
        try:
            wanted = yield from self._course.is_wanted(self._work)
        except TrainingEnded as ended:
            return Receipt(Outcome.TOO_LATE, ended.detail)
        if not wanted:
            return Receipt(Outcome.TOO_LATE, refusal.detail)
        if isinstance(refusal, Conflict) and (yield from self._course.is_delivered()):
            return Receipt(Outcome.DELIVERED_BEFORE, refusal.detail)
        raise refusal

    def _deliver_update(
        self, model: Submitted | None, metrics: Mapping[str, float], sample_size: int
    ) -> Operation[str]:
        if model is None or isinstance(model, SwagMoments):
            raise BadSubmission(
                "A training round wants the trained model: task.submit(model, sample_size=…)."
            )
        path = self._folder / "update.safetensors"
        write_state(model, path)
        label, fields = "Update", {"sample_size": sample_size, **metric_fields(metrics)}
        if path.stat().st_size >= RESUMABLE_FROM_BYTES:
            upload_id = yield from upload_in_parts(path, label=label)
            answer = yield Call(
                "POST",
                f"/api/models/{self._work.model_id}/",
                form={"round": self.round, "model_file_upload": upload_id, **fields},
                timeout_seconds=CHECKED_TIMEOUT_SECONDS,
            )
            return _sentence(answer)
        try:
            answer = yield Call(
                "PUT",
                f"/api/models/{self._work.model_id}/updates/{self.round}/",
                params=fields,
                headers={"Content-Type": SAFETENSORS, **digest_header(path)},
                body=FileBody(path, label=label),
                timeout_seconds=CHECKED_TIMEOUT_SECONDS,
            )
        except Refused as refusal:
            # What lies between lets no PUT through, or the server knows only forms.
            if refusal.status not in {405, 501}:
                raise
            answer = yield Call(
                "POST",
                f"/api/models/{self._work.model_id}/",
                form={"round": self.round, **fields},
                files={"model_file": path},
                timeout_seconds=CHECKED_TIMEOUT_SECONDS,
            )
        return _sentence(answer)

    def _deliver_moments(self, model: Submitted | None, sample_size: int) -> Operation[str]:
        if not isinstance(model, SwagMoments) or not model.count:
            raise BadSubmission(
                "A SWAG round wants moments: moments = SwagMoments(model), moments.collect() after "
                "each step, task.submit(moments, sample_size=…)."
            )
        answer = yield Call(
            "POST",
            f"/api/models/{self._work.model_id}/swag/",
            form={"round": self.round, "sample_size": sample_size},
            files={
                "first_moment_file": tensor_bytes(model.first),
                "second_moment_file": tensor_bytes(model.second),
            },
            timeout_seconds=CHECKED_TIMEOUT_SECONDS,
        )
        return _sentence(answer)

    def _deliver_metrics(self, metrics: Mapping[str, float]) -> Operation[str]:
        if not metrics:
            raise BadSubmission(
                'An evaluation wants metrics: task.submit(metrics={"accuracy": …}).'
            )
        # A report carries no round: too late, it would be taken for one of the next model.
        if not (yield from self._course.is_wanted(self._work)):
            raise Conflict(f"Model {self.round} is not evaluated any more.", 409)
        if unreported := self._course.unreported(metrics):
            logger.warning(
                "The actor asks for %s; this evaluation reports %s.",
                " and ".join(unreported),
                " and ".join(metrics),
            )
        answer = yield Call(
            "POST", f"/api/models/{self._work.model_id}/metrics/", form=metric_fields(metrics)
        )
        return _sentence(answer)


class Task(Assignment):
    """Something to do, one after the other of `for task in join(…)`."""

    def __init__(
        self, connection: Connection, work: Work, course: Course, files: ModelFiles, folder: Path
    ) -> None:
        super().__init__(work, course, files, folder)
        self._connection = connection

    @overload
    def model(self) -> nn.Module: ...
    @overload
    def model(self, network: NetworkT) -> NetworkT: ...
    def model(self, network: nn.Module | None = None) -> nn.Module:
        """The global model, in eval mode for an evaluation, else in training mode.

        Args:
            network: Of the global model's architecture; its tensors are overwritten, and it is
                what you get. Without it, the network is in the file that the actor uploaded.

        Raises:
            UnusableModel: the file needs code of its author's, or `network` does not fit.
        """
        if network is None:
            return self._connection.run(self._fetch_module())
        return self._connection.run(self._fetch_into(network))

    def submit(
        self,
        model: Submitted | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        sample_size: int | None = None,
    ) -> Receipt:
        """Deliver what the task asks for; being too late is an answer and no error.

        Args:
            model: For training, the trained model or its state dict; in a SWAG round the moments;
                left aside in an evaluation.
            metrics: Of the model, by name; needed in an evaluation.
            sample_size: How many samples it was trained on: its weight in the mean.

        Raises:
            BadSubmission: something is missing.
            InvalidRequest: the server says what is wrong with it.
        """
        return self._connection.run(self._deliver(model, metrics, sample_size))


class AsyncTask(Assignment):
    """`Task` for who awaits: `await task.model()`, `await task.submit(…)`."""

    def __init__(
        self,
        connection: AsyncConnection,
        work: Work,
        course: Course,
        files: ModelFiles,
        folder: Path,
    ) -> None:
        super().__init__(work, course, files, folder)
        self._connection = connection

    @overload
    async def model(self) -> nn.Module: ...
    @overload
    async def model(self, network: NetworkT) -> NetworkT: ...
    async def model(self, network: nn.Module | None = None) -> nn.Module:
        """As `Task.model`."""
        if network is None:
            return await self._connection.run(self._fetch_module())
        return await self._connection.run(self._fetch_into(network))

    async def submit(
        self,
        model: Submitted | None = None,
        *,
        metrics: Mapping[str, float] | None = None,
        sample_size: int | None = None,
    ) -> Receipt:
        """As `Task.submit`."""
        return await self._connection.run(self._deliver(model, metrics, sample_size))


def _in_mode(network: NetworkT, *, training: bool) -> NetworkT:
    # An exported program has the mode it was exported in.
    if not isinstance(network, torch.fx.GraphModule):
        network.train(training)
    return network


def _require_sample_size(sample_size: int | None) -> None:
    if sample_size is None or sample_size < 1:
        raise BadSubmission(
            "sample_size is missing or below 1: say how many samples the model was trained on."
        )


def _sentence(answer: httpx.Response) -> str:
    return decoded(answer, Detail).detail
