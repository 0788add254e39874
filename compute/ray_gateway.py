"""The gateway to a Ray cluster; the only module that submits work to Ray.

Ray's own calls are made off the event loop wherever they may wait, and not when the head is known
to be dead: Ray ends the whole process that waits for one for a minute. When the cluster is lost,
every call under way raises `ComputeUnavailable`, and the gateway lets go of the old cluster and
connects (or starts its own) anew.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, cast

import msgspec
import ray
import stamina
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, WorkerCrashedError

from compute import cluster, cluster_state
from compute.actors import (
    AggregatorActor,
    CheckLimits,
    CheckOrder,
    CheckReport,
    Failure,
    PredictorActor,
    Refusal,
    run_check,
)
from compute.cluster import RayConfig
from compute.contract import (
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
    Rejected,
    RejectionReason,
    UpdateRef,
    UpdateReport,
    WriteStateDict,
    WrittenStateDict,
)
from compute.gateway import ComputeUnavailable
from compute.gateway_outcomes import expected, unpacked
from compute.prediction_queues import PAUSE_AFTER_CRASH_SECONDS, PredictionQueues, PredictorDied
from compute.predictor_pool import PredictorPool

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
# A head that does not answer for so many probes in a row is gone (our own: one is enough).
PROBES_UNTIL_LOST = 5
CHECK_ATTEMPTS = 3
# A process may be killed from outside while it comes up.
PREDICTOR_ATTEMPTS = 3
# Aggregators kept for the next training, so that it need not wait for torch to load.
SPARE_AGGREGATORS = 1
# The kernel ends a predictor at its time limit; should that fail, it is killed so much later.
KILL_AFTER_SECONDS = 5.0
# How long calls that are under way may take to end when the cluster is let go.
CALLS_END_SECONDS = 1.0
# How long who looks at the cluster waits for it, and how old what they see may be: many look.
LOOK_SECONDS = 3.0
LOOK_AGAIN_AFTER_SECONDS = 1.0
# A worker process comes up and loads torch before a check's time begins to run.
WORKER_START_SECONDS = 120.0

_Result = TypeVar("_Result")


_Look = tuple[list[ClusterNode], list[ClusterActor]]


class _RemoteMethod(Protocol[_Result]):
    def remote(self, *arguments: object) -> "ray.ObjectRef[_Result]": ...


class _AggregatorHandle(Protocol):
    """What Ray makes of `AggregatorActor`; its own handles are not typed."""

    @property
    def fold(self) -> _RemoteMethod[Refusal | Failure | None]: ...

    @property
    def finish_round(self) -> _RemoteMethod[Refusal | Failure | None]: ...

    @property
    def finish_moments(self) -> _RemoteMethod[Refusal | Failure | None]: ...

    @property
    def let_go(self) -> _RemoteMethod[None]: ...

    @property
    def process_id(self) -> _RemoteMethod[int]: ...


class _PredictorHandle(Protocol):
    """What Ray makes of `PredictorActor`; its own handles are not typed."""

    @property
    def predict_all(
        self,
    ) -> _RemoteMethod[list[Prediction | Refusal | Failure] | Refusal | Failure]: ...

    @property
    def process_id(self) -> _RemoteMethod[int]: ...


class _CheckTask(Protocol):
    """What Ray makes of `run_check`."""

    def remote(
        self, blob_url: str, order: CheckOrder | None, limits: CheckLimits | None
    ) -> "ray.ObjectRef[CheckReport | Refusal | Failure]": ...


@dataclass(eq=False)
class _Aggregator:
    """An aggregator, and how many calls it has not answered."""

    actor: _AggregatorHandle
    calls: int = 0


@dataclass
class _Session:
    """One connection to one cluster, from `start` until it is lost or left."""

    cpus: float
    gpus: float
    # Made once: Ray asks the head to keep every new one, and waits for it.
    check: _CheckTask
    dashboard_url: str | None
    dashboard_has_token: bool
    # As many checks as there are CPUs: the time limit of one must not run while it queues in Ray.
    check_slots: asyncio.Semaphore
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    aggregators: dict[str, _Aggregator] = field(default_factory=dict)
    spare_aggregators: list[_Aggregator] = field(default_factory=list)
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    predictions: PredictionQueues[_PredictorHandle] | None = None
    # Processes that load torch because somebody will want them soon.
    coming_up: "list[ray.ObjectRef[CheckReport | Refusal | Failure]]" = field(default_factory=list)
    look: "asyncio.Future[_Look] | None" = None
    looked_at: float = 0.0

    def require_present(self) -> None:
        """Raise `ComputeUnavailable` once it is lost.

        Whoever waited for anything looks before asking Ray: it may be another cluster's by now.
        """
        if self.lost.is_set():
            message = "The compute cluster was lost during the call."
            raise ComputeUnavailable(message)


class RayGateway:
    """A `ComputeGateway` to a running Ray cluster, or to one of its own.

    Constraints: used from one event loop. The web process stays free of torch: it is imported in
    workers only.

    Args:
        on_stuck: Called when the head died while Ray waits for it. Nothing interrupts that, and a
            minute later Ray ends the process; this may replace it at once, and need not return.
    """

    def __init__(self, config: RayConfig, on_stuck: Callable[[], None] = lambda: None) -> None:
        self._config = config
        self._on_stuck = on_stuck
        self._session: _Session | None = None
        self._detail = "not started"
        self._spare_aggregators = SPARE_AGGREGATORS if config.keep_ready else 0
        self._watcher: asyncio.Task[None] | None = None
        # The kernel ends an embedded Ray with the thread that started it, so that thread stays.
        self._lifetime = ThreadPoolExecutor(1, thread_name_prefix="ray-lifetime")
        self._calls = ThreadPoolExecutor(4, thread_name_prefix="ray-call")
        # Its own: who only looks keeps no thread from who works.
        self._looks = ThreadPoolExecutor(1, thread_name_prefix="ray-look")
        self._warming: set[asyncio.Task[None]] = set()
        self._in_threads: set[asyncio.Future[object]] = set()
        self._waiting: set[asyncio.Task[Literal[True]]] = set()

    async def start(self) -> None:
        """Connect to the cluster or start it, and keep it so until `stop`.

        Raises:
            ComputeUnavailable: there is no cluster at the address, or ours does not start.
        """
        await self._connect()
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Disconnect; an embedded cluster ends, with every process it started. May be repeated."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        await self._disconnect("stopped")

    async def health(self) -> ComputeHealth:
        """What the last look at the cluster found, about a second ago."""
        session = self._session
        if session is None:
            return ComputeHealth(ready=False, detail=self._detail)
        return ComputeHealth(
            ready=True,
            cpus=session.cpus,
            gpus=session.gpus,
            dashboard_url=session.dashboard_url,
        )

    async def cluster_state(self) -> ClusterState:
        """What the head said, a second ago at most; not ready when it does not answer in time."""
        session = self._session
        embedded = self._config.is_embedded
        if session is None:
            return ClusterState(ready=False, detail=self._detail, embedded=embedded)
        look = self._look(session)
        try:
            await self._first_of(session, look, LOOK_SECONDS)
            nodes, actors = look.result()
        except TimeoutError:
            detail = f"The cluster does not answer within {LOOK_SECONDS:g} seconds."
            return ClusterState(ready=False, detail=detail, embedded=embedded)
        except (ComputeUnavailable, RayError, ValueError, OSError) as error:
            return ClusterState(ready=False, detail=_first_line(error), embedded=embedded)
        return ClusterState(
            ready=True,
            embedded=embedded,
            nodes=nodes,
            actors=_with_their_work(actors, session),
            dashboard_url=session.dashboard_url,
            dashboard_has_token=session.dashboard_has_token,
        )

    def _look(self, session: _Session) -> asyncio.Future[_Look]:
        """A look at the cluster, shared by all who want one at the same time."""
        old = time.monotonic() - session.looked_at > LOOK_AGAIN_AFTER_SECONDS
        if session.look is None or (session.look.done() and old):
            session.looked_at = time.monotonic()
            session.look = self._submitted(
                lambda: (cluster_state.read_nodes(), cluster_state.read_actors()), self._looks
            )
        return session.look

    def dashboard_token(self) -> str | None:
        """The token that the cluster's dashboard asks for, if it does."""
        return cluster.dashboard_token()

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
        """Folds of one training reach its aggregator in the order of these calls."""
        session = self._required_session()
        aggregator = await self._aggregator(session, spec)
        reference = aggregator.actor.fold.remote(spec, round, base_key, update)
        await self._ask_aggregator(session, spec, aggregator, reference)

    async def finish_round(self, spec: AggregatorSpec, order: FinishRound) -> None:
        session = self._required_session()
        aggregator = await self._aggregator(session, spec)
        reference = aggregator.actor.finish_round.remote(spec, order)
        await self._ask_aggregator(session, spec, aggregator, reference)

    async def release(self, training_id: str) -> None:
        session = self._session
        if session is None:
            return
        async with session.making:
            aggregator = session.aggregators.pop(training_id, None)
            if aggregator is None or session.lost.is_set():
                return
            if aggregator.calls or len(session.spare_aggregators) >= self._spare_aggregators:
                await self._call(
                    session,
                    lambda: ray.kill(cast("ActorHandle[AggregatorActor]", aggregator.actor)),
                )
                return
            aggregator.actor.let_go.remote()
            session.spare_aggregators.append(aggregator)

    async def aggregator_process_id(self, spec: AggregatorSpec) -> int:
        """Process id of the training's aggregator, on its node."""
        session = self._required_session()
        aggregator = await self._aggregator(session, spec)
        return await self._result(session, aggregator.actor.process_id.remote())

    async def check_moments(self, order: CheckMoments) -> None:
        await self._check(order)

    async def finish_moments(self, spec: AggregatorSpec, order: FinishMoments) -> None:
        session = self._required_session()
        aggregator = await self._aggregator(session, spec)
        reference = aggregator.actor.finish_moments.remote(spec, order)
        await self._ask_aggregator(session, spec, aggregator, reference)

    async def make_mean(self, order: MakeMean) -> MeanModel:
        return expected(MeanModel, await self._check(order))

    async def make_dummy_model(self, order: MakeDummyModel) -> DummyModel:
        return expected(DummyModel, await self._check(order))

    async def write_state_dict(self, order: WriteStateDict) -> WrittenStateDict:
        return expected(WrittenStateDict, await self._check(order))

    async def predict(self, order: Predict) -> Prediction:
        session = self._required_session()
        return await self._prediction_queues(session).predict(order)

    def _prediction_queues(self, session: _Session) -> PredictionQueues[_PredictorHandle]:
        if session.predictions is None:
            pool = PredictorPool(
                self._config.predictors,
                lambda: self._ready_predictor(session),
                lambda predictor: self._end_predictor(session, predictor),
                lambda predictor: self._answers(session, predictor),
            )
            session.predictions = PredictionQueues(
                pool,
                lambda predictor, orders: self._predict_all(session, predictor, orders),
                lambda: self._warm_predictors(session, pool),
            )
        return session.predictions

    def _warm_predictors(self, session: _Session, pool: PredictorPool[_PredictorHandle]) -> None:
        """Have a predictor come up before somebody asks for one."""
        if not self._config.keep_ready:
            return

        async def warm() -> None:
            try:
                # Whoever uploads something waits for these; predictions come later.
                for reference in session.coming_up:
                    session.require_present()
                    with contextlib.suppress(RayError):  # it comes up when it is wanted
                        await self._result(session, reference)
                await pool.warm()
            except (ComputeUnavailable, RayError) as error:
                logger.warning("No predictor is kept ready: %s", _first_line(error))

        task = asyncio.create_task(warm())
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    async def _predict_all(
        self, session: _Session, predictor: _PredictorHandle, orders: list[Predict]
    ) -> list[Prediction | Refusal | Failure]:
        session.require_present()
        seconds = self._config.predict_timeout_seconds
        started = time.monotonic()
        try:
            outcome = await self._result(
                session, predictor.predict_all.remote(orders), seconds + KILL_AFTER_SECONDS
            )
        except (TimeoutError, RayActorError) as error:
            if time.monotonic() - started < seconds:
                raise PredictorDied(_first_line(error)) from error
            raise Rejected(
                RejectionReason.TIMED_OUT,
                f"The model takes longer than {seconds:g} seconds to answer.",
            ) from error
        except OutOfMemoryError as error:
            raise Rejected(
                RejectionReason.TOO_LARGE,
                "Predicting with this model takes more memory than there is.",
            ) from error
        return unpacked(outcome)

    async def _answers(self, session: _Session, predictor: _PredictorHandle) -> bool:
        session.require_present()
        try:
            await self._result(session, predictor.process_id.remote(), KILL_AFTER_SECONDS)
        except (TimeoutError, RayActorError):
            return False
        return True

    async def _ready_predictor(self, session: _Session) -> _PredictorHandle:
        for attempt in range(PREDICTOR_ATTEMPTS):
            if attempt:
                await asyncio.sleep(PAUSE_AFTER_CRASH_SECONDS)
            predictor = await self._call(session, lambda: self._make_predictor(session))
            session.require_present()
            try:
                await self._result(session, predictor.process_id.remote(), WORKER_START_SECONDS)
            except RayActorError as error:
                logger.warning("A predictor died while it came up: %s", _first_line(error))
                await self._end_predictor(session, predictor)
            except TimeoutError:
                await self._end_predictor(session, predictor)
                break
            else:
                return predictor
        message = "No predictor could be had."
        raise ComputeUnavailable(message)

    async def _end_predictor(self, session: _Session, predictor: _PredictorHandle) -> None:
        handle = cast("ActorHandle[PredictorActor]", predictor)
        await self._call(session, lambda: ray.kill(handle))

    def _make_predictor(self, session: _Session) -> _PredictorHandle:
        limits = CheckLimits(
            memory_bytes=self._config.predict_memory_bytes,
            seconds=self._config.predict_timeout_seconds,
        )
        made = (
            ray.remote(PredictorActor)
            .options(
                num_cpus=0,
                num_gpus=self._config.gpus_per_predictor if session.gpus else 0,
                enable_task_events=False,  # nobody looks at them, and each call would pay
            )
            .remote(self._config.blob_url, limits)
        )
        return cast("_PredictorHandle", made)

    async def _check(self, order: CheckOrder) -> CheckReport:
        session = self._required_session()
        async with session.check_slots:
            for attempt in range(CHECK_ATTEMPTS):
                if attempt:
                    await asyncio.sleep(PAUSE_AFTER_CRASH_SECONDS)
                session.require_present()
                try:
                    return await self._check_once(session, order)
                except WorkerCrashedError:
                    # Perhaps not the upload's fault: workers are also ended from outside.
                    logger.warning("The worker that did %r died", order)
        raise Rejected(
            RejectionReason.UNSAFE,
            "Checking the file ended the process that opened it, repeatedly. Send it in another "
            "format, for example a TorchScript archive.",
        )

    async def _check_once(self, session: _Session, order: CheckOrder) -> CheckReport:
        seconds = self._config.check_timeout_seconds
        limits = CheckLimits(memory_bytes=self._config.check_memory_bytes, seconds=seconds)
        submitted = time.monotonic()
        # The first one has the head keep the task.
        reference = await self._call(
            session, lambda: session.check.remote(self._config.blob_url, order, limits)
        )
        try:
            outcome = await self._result(session, reference, seconds + WORKER_START_SECONDS)
        except TimeoutError as error:
            ray.cancel(reference, force=True)
            message = "No worker could be had for the check."
            raise ComputeUnavailable(message) from error
        except WorkerCrashedError as error:
            if time.monotonic() - submitted < seconds:
                raise
            raise Rejected(
                RejectionReason.TIMED_OUT,
                f"Checking the file took longer than {seconds:g} seconds.",
            ) from error
        except OutOfMemoryError as error:
            raise Rejected(
                RejectionReason.TOO_LARGE, "Checking the file takes more memory than there is."
            ) from error
        return unpacked(outcome)

    async def _aggregator(self, session: _Session, spec: AggregatorSpec) -> _Aggregator:
        """The training's aggregator: its own, else a spare one, a new one, or the idlest one.

        Taking one from a training that waits for updates loses nothing but what was folded ahead:
        `finish_round` folds it again.
        """
        async with session.making:
            session.require_present()
            aggregator = session.aggregators.pop(spec.training_id, None)
            if aggregator is None and session.spare_aggregators:
                aggregator = session.spare_aggregators.pop()
            if aggregator is None and len(session.aggregators) >= self._config.aggregators:
                aggregator = _taken_from_idlest(session.aggregators)
            if aggregator is None:
                aggregator = await self._call(session, lambda: self._make_aggregator(session.gpus))
                session.require_present()
            session.aggregators[spec.training_id] = aggregator  # used most recently last
            return aggregator

    def _make_aggregator(self, gpus: float) -> _Aggregator:
        made = (
            ray.remote(AggregatorActor)
            .options(
                num_cpus=0,
                num_gpus=self._config.gpus_per_aggregator if gpus else 0,
                max_restarts=-1,
            )
            .remote()
        )
        return _Aggregator(cast("_AggregatorHandle", made))

    async def _ask_aggregator(
        self,
        session: _Session,
        spec: AggregatorSpec,
        aggregator: _Aggregator,
        reference: "ray.ObjectRef[Refusal | Failure | None]",
    ) -> None:
        aggregator.calls += 1
        try:
            unpacked(await self._result(session, reference))
        except RayActorError as error:
            # Ray restarts it; should it be dead for good, the next call makes another.
            if session.aggregators.get(spec.training_id) is aggregator:
                del session.aggregators[spec.training_id]
            message = f"The aggregator of training {spec.training_id} died: {_first_line(error)}"
            raise ComputeUnavailable(message) from error
        finally:
            aggregator.calls -= 1

    async def _result(
        self,
        session: _Session,
        reference: "ray.ObjectRef[_Result]",
        timeout_seconds: float | None = None,
    ) -> _Result:
        """What the reference stands for.

        Raises:
            TimeoutError: it took longer than `timeout_seconds`.
            WorkerCrashedError, OutOfMemoryError, RayActorError: the process died.
            ComputeUnavailable: anything else went wrong on the way.
        """
        future = asyncio.wrap_future(reference.future())
        await self._first_of(session, future, timeout_seconds)
        try:
            return future.result()
        except (WorkerCrashedError, OutOfMemoryError, RayActorError):
            raise
        except RayError as error:
            raise ComputeUnavailable(_first_line(error)) from error

    async def _call(self, session: _Session, call: Callable[[], _Result]) -> _Result:
        """`call()`, made in a thread: Ray may wait for its head in it."""
        session.require_present()
        future = self._submitted(call, self._calls)
        await self._first_of(session, future, None)
        try:
            return future.result()
        except (RayError, ValueError, OSError) as error:
            raise ComputeUnavailable(_first_line(error)) from error

    def _submitted(
        self, call: Callable[[], _Result], threads: ThreadPoolExecutor
    ) -> asyncio.Future[_Result]:
        """`call()` in a thread, unless the head is known to be dead by then."""

        def called() -> _Result:
            if not cluster.is_alive(self._config):
                message = "The compute cluster does not answer."
                raise ConnectionError(message)
            return call()

        future = asyncio.get_running_loop().run_in_executor(threads, called)
        kept = cast("asyncio.Future[object]", future)
        self._in_threads.add(kept)
        kept.add_done_callback(self._in_threads.discard)
        return future

    async def _first_of(
        self, session: _Session, future: asyncio.Future[_Result], timeout_seconds: float | None
    ) -> None:
        """Wait for `future`; never longer than the cluster lives, or the time limit."""
        lost = asyncio.ensure_future(session.lost.wait())
        self._waiting.add(lost)
        try:
            either: set[asyncio.Future[_Result] | asyncio.Task[Literal[True]]] = {future, lost}
            await asyncio.wait(either, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            self._waiting.discard(lost)
        if future.done():
            return
        # Nobody will look at what becomes of it.
        future.add_done_callback(lambda late: late.cancelled() or late.exception())
        session.require_present()
        raise TimeoutError

    async def _connect(self) -> None:
        self._detail = "starting"
        known_dead = cluster.dead_heads()
        opening = asyncio.get_running_loop().run_in_executor(self._lifetime, self._open_session)
        while not (await asyncio.wait([opening], timeout=WATCH_SECONDS))[0]:
            if self._config.is_embedded and (died := cluster.dead_heads() - known_dead):
                known_dead |= died
                logger.error("Ray's head died while Ray was started")
                self._on_stuck()
        try:
            session = await opening
        except (RayError, OSError, RuntimeError, ValueError) as error:
            self._detail = f"no cluster: {_first_line(error)}"
            raise ComputeUnavailable(self._detail) from error
        self._session = session
        self._prediction_queues(session).warm()

    def _open_session(self) -> _Session:
        cluster.start(self._config)
        resources: dict[str, float] = ray.cluster_resources()
        cpus = resources.get("CPU", 0.0)
        check = ray.remote(num_cpus=1, max_retries=0)(run_check)
        coming_up = []
        if self._config.keep_ready:
            # Workers come up with torch loaded before the first upload waits for it.
            warm_up = check.options(name="warm_up").remote(self._config.blob_url, None, None)
            coming_up.append(warm_up)
        gpus = resources.get("GPU", 0.0)
        return _Session(
            cpus=cpus,
            gpus=gpus,
            check=check,
            spare_aggregators=[self._make_aggregator(gpus) for _ in range(self._spare_aggregators)],
            dashboard_url=cluster.dashboard_url(),
            dashboard_has_token=cluster.dashboard_token() is not None,
            check_slots=asyncio.Semaphore(max(1, int(cpus))),
            coming_up=coming_up,
        )

    async def _watch(self) -> None:
        """Notice a lost cluster, let go of it, and connect again; for ever."""
        while True:
            await self._until_lost()
            logger.warning("The compute cluster is lost; connecting again")
            waiting = set(self._in_threads)
            await self._disconnect("lost")
            async for attempt in stamina.retry_context(
                on=ComputeUnavailable, attempts=None, timeout=None, wait_initial=1.0, wait_max=30.0
            ):
                with attempt:
                    await self._connect()
            logger.warning("The compute cluster is back")
            if waiting & self._in_threads:
                logger.error("A call still waits for the head of the cluster that was lost")
                self._on_stuck()

    async def _until_lost(self) -> None:
        misses = 0
        allowed = 1 if self._config.is_embedded else PROBES_UNTIL_LOST
        while misses < allowed:
            await asyncio.sleep(WATCH_SECONDS)
            alive = await asyncio.get_running_loop().run_in_executor(
                self._lifetime, cluster.is_alive, self._config
            )
            misses = 0 if alive else misses + 1

    async def _disconnect(self, detail: str) -> None:
        """Tell all who wait that the cluster is gone, and then have Ray let go of it.

        A handle that is dropped while Ray shuts down asks what is gone already, and for that Ray
        ends the process: first whoever waits drops theirs, and the session keeps its own till then.
        """
        self._detail = detail
        session, self._session = self._session, None
        if session is not None:
            session.lost.set()
        if self._waiting:
            await asyncio.wait(set(self._waiting))
            await asyncio.sleep(0)  # they are told by the same, and go on a turn later
        if self._in_threads:
            await asyncio.wait(self._in_threads, timeout=CALLS_END_SECONDS)
        await asyncio.get_running_loop().run_in_executor(self._lifetime, cluster.stop)

    def _required_session(self) -> _Session:
        if self._session is None:
            message = f"The compute cluster is not there: {self._detail}."
            raise ComputeUnavailable(message)
        return self._session


def _taken_from_idlest(aggregators: dict[str, _Aggregator]) -> _Aggregator | None:
    """The aggregator that was used least recently of those with nothing to do, if there is one."""
    idle = next((key for key, each in aggregators.items() if not each.calls), None)
    return None if idle is None else aggregators.pop(idle)


def _with_their_work(actors: list[ClusterActor], session: _Session) -> list[ClusterActor]:
    """The actors, with the training that each aggregates and the model that each predicts with."""
    trainings = {_id_of(each.actor): id for id, each in session.aggregators.items()}
    predictors = session.predictions.serving() if session.predictions is not None else []
    models = {_id_of(predictor): key for predictor, key in predictors}
    return [
        msgspec.structs.replace(
            actor, training_id=trainings.get(actor.id), model_key=models.get(actor.id)
        )
        for actor in actors
    ]


def _id_of(handle: _AggregatorHandle | _PredictorHandle) -> str:
    actor = cast("ActorHandle[AggregatorActor]", handle)
    return str(actor._actor_id.hex())  # noqa: SLF001 - there is no public way to it


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
