"""Ray's side of the work: a task that checks uploads, actors that aggregate and predict.

Thin wrappers. This module is imported by the web process and must not load torch: what does is
imported inside the worker. Expected failures come back as values: an exception would be pickled
with its cause, and unpickling a torch error would load torch into the web process.
"""

import contextlib
import gc
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from compute.blobs import BlobError
from compute.contract import (
    AggregatorSpec,
    CheckModel,
    CheckMoments,
    CheckPreprocessing,
    CheckUpdate,
    DummyModel,
    FinishMoments,
    FinishRound,
    MakeDummyModel,
    MakeMean,
    MeanModel,
    Message,
    ModelReport,
    Predict,
    Prediction,
    Rejected,
    RejectionReason,
    UpdateRef,
    UpdateReport,
    WriteStateDict,
    WrittenStateDict,
)

if TYPE_CHECKING:
    from compute.aggregator import Aggregator

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")

CheckOrder = (
    CheckModel
    | CheckPreprocessing
    | CheckUpdate
    | CheckMoments
    | MakeMean
    | MakeDummyModel
    | WriteStateDict
)
CheckReport = ModelReport | UpdateReport | MeanModel | DummyModel | WrittenStateDict | None


class Refusal(Message, frozen=True, kw_only=True):
    """The upload was rejected."""

    reason: RejectionReason
    detail: str


class Failure(Message, frozen=True, kw_only=True):
    """The worker could not do it now; the same call may be repeated."""

    detail: str


class CheckLimits(Message, frozen=True, kw_only=True):
    """What a check may take; a process that takes longer than `seconds` is ended by the kernel."""

    memory_bytes: int | None
    seconds: float


def run_check(
    blob_url: str,
    order: CheckOrder | None,
    limits: CheckLimits | None,
) -> CheckReport | Refusal | Failure:
    """What `compute.checks.check` finds, within the limits if there are any.

    Without an order it loads what the first check and prediction would otherwise wait for.
    """
    if order is None:
        with _loading_for_good():
            import compute.checks
            import compute.predictor  # noqa: F401 - both load torch
        return None

    from compute.blobs import open_blob_store
    from compute.checks import check, limited

    def checked() -> CheckReport:
        limit = limited(limits) if limits else contextlib.nullcontext()
        with limit:
            return check(open_blob_store(blob_url), order)

    return _answer(checked)


class AggregatorActor:
    """An `Aggregator` in a process of its own, which reports to the backend.

    It takes seconds to come up (torch), so it serves one training after another: each call says
    which, and one that was restarted meanwhile, or let go of, begins anew.
    """

    def __init__(self) -> None:
        with _loading_for_good():
            import torch

            import compute.aggregator
            import compute.callbacks  # noqa: F401 - both are wanted at once when a round ends

        # Ray gives an actor without CPUs one thread; folding may use what is idle.
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._spec: AggregatorSpec | None = None
        self._aggregator: Aggregator | None = None

    def fold(
        self, spec: AggregatorSpec, round: int, base_key: str, update: UpdateRef
    ) -> Refusal | Failure | None:
        """See `Aggregator.fold`."""
        return _answer(lambda: self._serving(spec).fold(round, base_key, update))

    def finish_round(self, spec: AggregatorSpec, order: FinishRound) -> Refusal | Failure | None:
        """Aggregate, and return once the backend has the outcome."""
        from compute.callbacks import deliver

        return _answer(lambda: deliver(spec.callback, self._serving(spec).finish_round(order)))

    def finish_moments(
        self, spec: AggregatorSpec, order: FinishMoments
    ) -> Refusal | Failure | None:
        """Average SWAG moments, and return once the backend has the outcome."""
        from compute.callbacks import deliver

        return _answer(lambda: deliver(spec.callback, self._serving(spec).finish_moments(order)))

    def let_go(self) -> None:
        """Free what the training that was served last still holds."""
        self._spec = self._aggregator = None

    def _serving(self, spec: AggregatorSpec) -> "Aggregator":
        if self._aggregator is None or self._spec != spec:
            import torch

            from compute.aggregator import Aggregator
            from compute.blobs import open_blob_store

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self._aggregator = Aggregator(spec, open_blob_store(spec.blob_url), device)
            self._spec = spec
        return self._aggregator

    def process_id(self) -> int:
        """Of the worker that it lives in."""
        return os.getpid()


class PredictorActor:
    """A `Predictor` in a process of its own, which the kernel ends when a request takes too long.

    Where there is a GPU the memory limit is the GPU's own: CUDA reserves address space at will.
    """

    def __init__(self, blob_url: str, limits: CheckLimits | None = None) -> None:
        with _loading_for_good():
            import torch

            from compute.blobs import open_blob_store
            from compute.predictor import Predictor

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if limits is not None and device.type == "cuda":
            limits = CheckLimits(memory_bytes=None, seconds=limits.seconds)
        self._limits = limits
        self._predictor = Predictor(open_blob_store(blob_url), device)

    def predict_all(
        self, orders: list[Predict]
    ) -> list[Prediction | Refusal | Failure] | Refusal | Failure:
        """The answer to each order, within one limit for all; see `Predictor.predict_all`."""
        from compute.checks import limited

        def predicted() -> list[Prediction | Refusal | Failure]:
            with limited(self._limits) if self._limits else contextlib.nullcontext():
                return [_told(answer) for answer in self._predictor.predict_all(orders)]

        return _answer(predicted)

    def process_id(self) -> int:
        """Of the worker that it lives in."""
        return os.getpid()


@contextlib.contextmanager
def _loading_for_good() -> Iterator[None]:
    """Spare the collector what is imported meanwhile.

    Looking through torch takes a tenth of a second, of this import as of any round or prediction.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _told(answer: Prediction | Rejected | BlobError) -> Prediction | Refusal | Failure:
    if isinstance(answer, Rejected):
        return Refusal(reason=answer.reason, detail=answer.detail)
    if isinstance(answer, BlobError):
        return Failure(detail=f"{type(answer).__name__}: {answer}")
    return answer


def _answer(work: Callable[[], _Result]) -> _Result | Refusal | Failure:
    """The result of `work`, or why there is none."""
    try:
        return work()
    except Rejected as rejected:
        return Refusal(reason=rejected.reason, detail=rejected.detail)
    except Exception as error:
        logger.exception("Compute failed")
        return Failure(detail=f"{type(error).__name__}: {error}")
