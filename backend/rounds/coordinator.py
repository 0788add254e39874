"""The sole writer of trainings' states and rounds.

Guarantees: when a method returns, what it did is committed; when it raises, nothing was. Every
decision is made inside one write transaction that first updates the training's row, so that
decisions about one training happen one after the other, on SQLite and on PostgreSQL. A lost answer
may be asked for again: a repeated update, callback or start changes nothing.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID, uuid4

import msgspec
from piccolo.columns.base import Column

from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Metric,
    ModelVersion,
    Participant,
    Round,
    Training,
    training_key,
)
from backend.errors import Conflict, InvalidRequest, NotAllowed, NotFound, WrongState
from backend.metrics.values import MetricValue, metric_rows
from backend.notifications.outbox import NotificationType, enqueue
from backend.notifications.pusher import Pusher
from backend.rounds.state import (
    OpenRound,
    Phase,
    Plan,
    TrainingState,
    all_tests_in,
    all_updates_in,
    phase_after_aggregation,
    require_transition,
    step_after,
)
from backend.trainings.options import TrainingOptions, parse_options
from backend.weights import Weights
from compute.blobs import Staged
from compute.contract import (
    AggregationOptions,
    AggregatorSpec,
    Callback,
    CallbackTarget,
    FinishRound,
    RoundAggregated,
    RoundFailed,
    UpdateRef,
)
from compute.gateway import ComputeGateway, ComputeUnavailable

logger = logging.getLogger(__name__)


class NewUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A checked update on its way in."""

    training_id: UUID
    owner: UUID
    round: int
    sample_size: int
    upload: Staged
    metrics: list[MetricValue]


class Coordinator:
    """Opens, fills, closes and advances rounds."""

    def __init__(
        self,
        *,
        database: Database,
        gateway: ComputeGateway,
        weights: Weights,
        pusher: Pusher,
        blob_url: str,
        callback: CallbackTarget,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._weights = weights
        self._pusher = pusher
        self._blob_url = blob_url
        self._callback = callback
        self._finishing: dict[UUID, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def start(self, training_id: UUID) -> None:
        """Open round 0 and tell everybody.

        Raises:
            InvalidRequest: there is no participant.
            WrongState: it was started before.
        """
        async with self._database.write_transaction():
            training = await _guard(training_id)
            if training.state != TrainingState.INITIAL:
                raise WrongState(f"Training {training_id} is not in state INITIAL!")
            participants = await participants_of(training_id)
            if not participants:
                raise InvalidRequest("At least one participant must be registered!")
            await Training.update({Training.state: TrainingState.ONGOING.value}).where(
                Training.id == training_id
            )
            await self._tell(training, NotificationType.TRAINING_START, participants)
            await self._open_round(training, 0, participants)
        self._committed(training_id)

    async def accept_update(self, update: NewUpdate) -> None:
        """Record an update whose file has been checked; the last expected one closes the round.

        The same update again is accepted and changes nothing.

        Raises:
            NotAllowed: the sender is no participant.
            Conflict: the sender delivered something else for this round.
            WrongState: the round is not the one that collects updates.
        """
        if await _is_repeat(update):
            return
        async with self._weights.recorded(update.upload), self._database.write_transaction():
            training = await _guard(update.training_id)
            await require_participant(update.training_id, update.owner)
            if await _is_repeat(update):
                return
            round_row = await _open_for_updates(training, update.round)
            local_model_id = uuid4()
            await LocalModel.insert(
                LocalModel(
                    id=local_model_id,
                    key=training_key(update.training_id, update.round, update.owner),
                    round_key=round_row.key,
                    training=update.training_id,
                    base_model=training.model,
                    round=update.round,
                    owner=update.owner,
                    digest=update.upload.digest,
                    size_bytes=update.upload.size_bytes,
                    sample_size=update.sample_size,
                )
            )
            if update.metrics:
                await Metric.insert(
                    *metric_rows(local_model_id, update.owner, update.round, update.metrics)
                )
            closed = await self._close_if_complete(update.training_id, round_row)
            base_key = await _base_key(training.model, update.round)
        if closed:
            self._committed(update.training_id, closed=True)
        else:
            reference = UpdateRef(
                update_id=str(local_model_id),
                digest=update.upload.digest,
                sample_size=update.sample_size,
            )
            self._spawn(self._fold(training, update.round, base_key, reference))

    async def report_metrics(
        self, model: GlobalModel, reporter: UUID, values: list[MetricValue]
    ) -> None:
        """Record metrics of a global model; the last expected test ends a testing round."""
        training = await Training.objects().get(Training.model == model.id)
        ended = False
        async with self._database.write_transaction():
            if training is not None:
                training = await _guard(training.id)
            step = await _round_of(model.id)
            await Metric.insert(*metric_rows(model.id, reporter, step, values))
            if training is not None and training.state == TrainingState.ONGOING:
                ended = await self._advance_if_tested(training)
        if training is not None:
            self._committed(training.id, ended=ended)

    async def register(self, training_id: UUID, users: Collection[UUID]) -> None:
        """Make users participants; who joins a running training is told what is expected now."""
        async with self._database.write_transaction():
            training = await _guard(training_id)
            present = await participants_of(training_id)
            new = [user for user in dict.fromkeys(users) if user not in set(present)]
            if not new:
                return
            await Participant.insert(
                *(
                    Participant(
                        key=training_key(training_id, user), training=training_id, user=user
                    )
                    for user in new
                )
            )
            if training.state == TrainingState.ONGOING:
                await self._tell(training, NotificationType.TRAINING_START, new)
                await self._tell_phase(training, await _round_row(training), new)
        self._committed(training_id)

    async def remove(self, training_id: UUID, users: Collection[UUID]) -> None:
        """End the participation of users; a round that waited only for them goes on.

        What a removed participant delivered stays in the round.
        """
        closed = ended = False
        async with self._database.write_transaction():
            training = await _guard(training_id)
            present = await participants_of(training_id)
            gone = [user for user in present if user in set(users)]
            if not gone:
                return
            await Participant.delete().where(
                Participant.key.is_in([training_key(training_id, user) for user in gone])
            )
            await self._tell(training, NotificationType.CLIENT_REMOVED, gone)
            if training.state == TrainingState.ONGOING and len(gone) < len(present):
                round_row = await _round_row(training)
                closed = await self._close_if_complete(training_id, round_row)
                ended = await self._advance_if_tested(training)
        self._committed(training_id, closed=closed, ended=ended)

    async def delete(self, training_id: UUID) -> None:
        """Remove a training in any state; participants of a running one are told."""
        async with self._database.write_transaction():
            training = await _guard(training_id)
            if training.state == TrainingState.ONGOING:
                await self._tell(
                    training, NotificationType.CLIENT_REMOVED, await participants_of(training_id)
                )
            local_models = await LocalModel.select(LocalModel.id, LocalModel.digest).where(
                LocalModel.training == training_id
            )
            if local_models:
                await Metric.delete().where(Metric.model.is_in([row["id"] for row in local_models]))
            await Training.delete().where(Training.id == training_id)
        self._committed(training_id, ended=True, dropped=[row["digest"] for row in local_models])

    async def apply(self, callback: Callback) -> None:
        """Take what the aggregator reports; a repeat changes nothing.

        Raises:
            NotFound: the training was deleted meanwhile.
            InvalidRequest: the new model's blob is not in the store; aggregate again.
        """
        match callback:
            case RoundAggregated():
                await self._apply_aggregated(callback)
            case RoundFailed():
                await self._apply_failed(callback)

    async def resume(self) -> None:
        """Order what should be under way and is not: the aggregation of every closed round."""
        rows = await Round.select(Round.training).where(Round.phase == Phase.AGGREGATING.value)
        for row in rows:
            self._finish(row["training"])

    async def stop(self) -> None:
        """Leave what is under way to the next start."""
        tasks = [*self._finishing.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close_if_complete(self, training_id: UUID, round_row: Round) -> bool:
        """Whether this call is the one that closed the collection."""
        if round_row.phase != Phase.COLLECTING:
            return False
        expected = set(await participants_of(training_id))
        if not all_updates_in(expected, await delivered_by(round_row.key)):
            return False
        return await _move(round_row.key, Phase.COLLECTING, Phase.AGGREGATING)

    async def _apply_aggregated(self, callback: RoundAggregated) -> None:
        training_id = UUID(callback.training_id)
        if not await asyncio.to_thread(self._weights.blobs.exists, callback.digest):
            raise InvalidRequest(f"There is no blob {callback.digest}.")
        dropped: list[str] = []
        async with self._database.write_transaction():
            training = await _guard(training_id)
            options = options_of(training)
            plan = options.plan(training.target_num_updates)
            key = training_key(training_id, callback.round)
            phase = phase_after_aggregation(plan, callback.round)
            if not await _move(key, Phase.AGGREGATING, phase):
                return
            await Round.update(
                {
                    Round.figures: msgspec.json.encode(callback.figures).decode(),
                    Round.aggregated_at: datetime.now(UTC),
                }
            ).where(Round.key == key)
            await _set_weights(training.model, callback)
            if options.delete_local_models_after_aggregation:
                rows = (
                    await LocalModel.update({LocalModel.kept: False})
                    .where(LocalModel.round_key == key)
                    .returning(LocalModel.digest)
                )
                dropped = [row["digest"] for row in rows]
            participants = await participants_of(training_id)
            if phase == Phase.CLOSED:
                ended = await self._go_on(training, plan, participants)
            else:
                await self._tell_phase(training, await _round_row(training), participants)
                ended = await self._advance_if_tested(training)
        self._committed(training_id, ended=ended, dropped=dropped)

    async def _apply_failed(self, callback: RoundFailed) -> None:
        training_id = UUID(callback.training_id)
        async with self._database.write_transaction():
            await _guard(training_id)
            key = training_key(training_id, callback.round)
            if not await _move(key, Phase.AGGREGATING, Phase.CLOSED):
                return
            reason = f"Round {callback.round} could not be aggregated: {callback.reason}"
            await Training.update(
                {Training.state: TrainingState.ERROR.value, Training.error: reason}
            ).where(Training.id == training_id)
        self._committed(training_id, ended=True)

    async def _advance_if_tested(self, training: Training) -> bool:
        """Close a testing round when every test is in; whether that ended the training."""
        round_row = await _round_row(training)
        if round_row.phase != Phase.TESTING:
            return False
        participants = await participants_of(training.id)
        reported = await _reported_by(training.model, round_row.index + 1)
        if not all_tests_in(set(participants), reported):
            return False
        if not await _move(round_row.key, Phase.TESTING, Phase.CLOSED):
            return False
        plan = options_of(training).plan(training.target_num_updates)
        return await self._go_on(training, plan, participants)

    async def _go_on(self, training: Training, plan: Plan, participants: list[UUID]) -> bool:
        """Open the next round or complete the training; whether it ended."""
        step = step_after(plan, training.round)
        if isinstance(step, OpenRound):
            await self._open_round(training, step.index, participants)
            return False
        await Training.update({Training.state: TrainingState.COMPLETED.value}).where(
            Training.id == training.id
        )
        await self._tell(
            training, NotificationType.TRAINING_FINISHED, [*participants, training.actor]
        )
        return True

    async def _open_round(self, training: Training, index: int, participants: list[UUID]) -> None:
        await Training.update({Training.round: index}).where(Training.id == training.id)
        row = Round(
            key=training_key(training.id, index),
            training=training.id,
            index=index,
            phase=Phase.COLLECTING.value,
        )
        await Round.insert(row)
        await self._tell_phase(training, row, participants)

    async def _tell_phase(
        self, training: Training, round_row: Round, recipients: Collection[UUID]
    ) -> None:
        """Say what is expected now; while the round is aggregated, nothing is."""
        body: dict[str, object]
        if round_row.phase == Phase.COLLECTING:
            body = {"round": round_row.index, "global_model_uuid": training.model}
            if training.aggregation_method == "FedProx":
                body["mu"] = options_of(training).mu
            await enqueue(NotificationType.UPDATE_ROUND_START, recipients, training.id, body)
        elif round_row.phase == Phase.TESTING:
            body = {"round": round_row.index + 1, "global_model_uuid": training.model}
            await enqueue(NotificationType.MODEL_TEST_ROUND, recipients, training.id, body)

    async def _tell(
        self, training: Training, kind: NotificationType, recipients: Collection[UUID]
    ) -> None:
        await enqueue(kind, recipients, training.id, {"global_model_uuid": training.model})

    def _committed(
        self,
        training_id: UUID,
        *,
        closed: bool = False,
        ended: bool = False,
        dropped: Collection[str] = (),
    ) -> None:
        """Set going what follows from a decision.

        Constraints: MUST be called after its transaction: a task made inside would write to it.

        Args:
            closed: A collection was closed: aggregate.
            ended: The training needs no aggregator any more.
            dropped: Blobs that may have lost their last reference.
        """
        self._pusher.wake()
        if closed:
            self._finish(training_id)
        if dropped:
            self._spawn(self._weights.drop(dropped))
        if ended:
            self._spawn(self._release(training_id))

    def _finish(self, training_id: UUID) -> None:
        """Have the closed round aggregated, unless that is under way."""
        if training_id in self._finishing:
            return
        task = asyncio.create_task(self._order_finish(training_id))
        self._finishing[training_id] = task
        task.add_done_callback(lambda done: self._finished(training_id, done))

    def _finished(self, training_id: UUID, task: asyncio.Task[None]) -> None:
        del self._finishing[training_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("aggregation of training %s stopped", training_id, exc_info=error)

    async def _order_finish(self, training_id: UUID) -> None:
        training = await Training.objects().get(Training.id == training_id)
        if training is None:
            return
        key = training_key(training_id, training.round)
        updates = await LocalModel.objects().where(LocalModel.round_key == key)
        order = FinishRound(
            round=training.round,
            base_key=await _base_key(training.model, training.round),
            updates=[
                UpdateRef(update_id=str(u.id), digest=u.digest, sample_size=u.sample_size)
                for u in sorted(updates, key=lambda u: u.id)
            ],
        )
        try:
            await self._gateway.finish_round(self._spec(training), order)
        except ComputeUnavailable as error:
            logger.warning("training %s is to be aggregated again: %s", training_id, error)

    async def _fold(
        self, training: Training, round_index: int, base_key: str, update: UpdateRef
    ) -> None:
        try:
            await self._gateway.fold(self._spec(training), round_index, base_key, update)
        except ComputeUnavailable as error:
            # Folding ahead only saves time: `finish_round` folds whatever is missing.
            logger.info("update %s is folded later: %s", update.update_id, error)

    async def _release(self, training_id: UUID) -> None:
        try:
            await self._gateway.release(str(training_id))
        except ComputeUnavailable as error:
            logger.info("the aggregator of %s is gone already: %s", training_id, error)

    def _spec(self, training: Training) -> AggregatorSpec:
        return AggregatorSpec(
            training_id=str(training.id),
            strategy=training.aggregation_method,
            blob_url=self._blob_url,
            callback=self._callback,
            options=AggregationOptions(accumulate=options_of(training).accumulate),
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background work failed", exc_info=error)


def options_of(training: Training) -> TrainingOptions:
    """The options with a meaning; they were checked when the training was created."""
    return parse_options(msgspec.json.decode(training.options, type=dict[str, object]))


async def participants_of(training_id: UUID) -> list[UUID]:
    """Users who take part, in order of registration."""
    rows = (
        await Participant.select(Participant.user)
        .where(Participant.training == training_id)
        .order_by(Participant.id)
    )
    return [row["user"] for row in rows]


async def require_participant(training_id: UUID, user: UUID) -> None:
    """Raises `NotAllowed` for who does not take part."""
    key = training_key(training_id, user)
    if not await Participant.exists().where(Participant.key == key):
        raise NotAllowed(f"You are not a participant of training {training_id}!")


async def delivered_by(round_key: str) -> set[UUID]:
    """Owners of the updates recorded for a round."""
    rows = await LocalModel.select(LocalModel.owner).where(LocalModel.round_key == round_key)
    return {row["owner"] for row in rows}


async def _guard(training_id: UUID) -> Training:
    """The training, locked against other decisions until the transaction ends."""
    locked = (
        await Training.update({Training.last_update: datetime.now(UTC)})
        .where(Training.id == training_id)
        .returning(Training.id)
    )
    training = await Training.objects().get(Training.id == training_id) if locked else None
    if training is None:
        raise NotFound("Training", training_id)
    return training


async def _move(round_key: str, before: Phase, after: Phase) -> bool:
    """Compare-and-swap of a round's phase; whether this call made the move."""
    require_transition(before, after)
    values: dict[Column | str, object] = {Round.phase: after.value}
    if after == Phase.AGGREGATING:
        values[Round.closed_at] = datetime.now(UTC)
    moved = (
        await Round.update(values)
        .where((Round.key == round_key) & (Round.phase == before.value))
        .returning(Round.id)
    )
    return bool(moved)


async def _round_row(training: Training) -> Round:
    key = training_key(training.id, training.round)
    row = await Round.objects().get(Round.key == key)
    if row is None:
        message = f"training {training.id} is ongoing without round {training.round}"
        raise LookupError(message)
    return row


async def _is_repeat(update: NewUpdate) -> bool:
    """Whether exactly this update was accepted before. Raises `Conflict` for another one."""
    key = training_key(update.training_id, update.round, update.owner)
    accepted = await LocalModel.objects().get(LocalModel.key == key)
    if accepted is None:
        return False
    if (accepted.digest, accepted.sample_size) != (update.upload.digest, update.sample_size):
        raise Conflict(
            f"You delivered another update for round {update.round} of training "
            f"{update.training_id} already."
        )
    return True


async def _open_for_updates(training: Training, index: int) -> Round:
    """The round, if it is the one that collects now. Raises `WrongState`."""
    if training.state != TrainingState.ONGOING:
        raise WrongState(f"Training with ID {training.id} is in state {training.state}")
    if training.round != index:
        _refuse_round(training, index)
    row = await _round_row(training)
    if row.phase != Phase.COLLECTING:
        raise WrongState(
            f"Training with ID {training.id} takes no updates for round {index} any more: "
            f"the round is {row.phase}."
        )
    return row


def _refuse_round(training: Training, index: int) -> NoReturn:
    raise WrongState(
        f"Training with ID {training.id} is not currently in round {index}, but in round "
        f"{training.round}."
    )


async def _base_key(model_id: UUID, index: int) -> str:
    """Blob of the global model that round `index` starts from."""
    version = await ModelVersion.objects().get(ModelVersion.key == training_key(model_id, index))
    if version is None:
        message = f"model {model_id} has no version of round {index}"
        raise LookupError(message)
    return str(version.digest)


async def _round_of(model_id: UUID) -> int:
    row = await GlobalModel.select(GlobalModel.round).where(GlobalModel.id == model_id).first()
    if row is None:
        raise NotFound("Model", model_id)
    return int(row["round"])


async def _set_weights(model_id: UUID, callback: RoundAggregated) -> None:
    await ModelVersion.insert(
        ModelVersion(
            key=training_key(model_id, callback.round + 1),
            model=model_id,
            round=callback.round + 1,
            digest=callback.digest,
            size_bytes=callback.size_bytes,
        )
    )
    await GlobalModel.update(
        {
            GlobalModel.round: callback.round + 1,
            GlobalModel.digest: callback.digest,
            GlobalModel.size_bytes: callback.size_bytes,
        }
    ).where(GlobalModel.id == model_id)


async def _reported_by(model_id: UUID, step: int) -> set[UUID]:
    rows = (
        await Metric.select(Metric.reporter)
        .where((Metric.model == model_id) & (Metric.step == step))
        .group_by(Metric.reporter)
    )
    return {row["reporter"] for row in rows}
