"""The sole writer of trainings' states and rounds.

Guarantees: when a method returns, what it did is committed; when it raises, nothing was. Every
decision is made inside one write transaction that first updates the training's row, so that
decisions about one training happen one after the other, on SQLite and on PostgreSQL. A lost answer
may be asked for again: a repeated update, callback or start changes nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.audit.events import AuditKind, record
from backend.audit.feed import AuditFeed
from backend.db.bulk import insert_all
from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    LocalMoments,
    Metric,
    Participant,
    Round,
    Training,
    training_key,
)
from backend.errors import Conflict, InvalidRequest, NotFound, StarlingError, WrongState
from backend.metrics.values import MetricValue, metric_rows
from backend.notifications.outbox import NotificationType
from backend.notifications.pusher import Pusher
from backend.rounds import records, transitions
from backend.rounds.aggregation import Aggregation
from backend.rounds.announcements import announce
from backend.rounds.deliveries import (
    NewMoments,
    NewUpdate,
    are_repeated_moments,
    collecting_moments_round,
    collecting_round,
    insert_moments,
    insert_update,
    is_repeated_update,
)
from backend.rounds.effects import Effects
from backend.rounds.state import (
    COLLECTING_PHASES,
    RUNNING,
    WAITING_PHASES,
    AtDeadline,
    Phase,
    TrainingState,
    at_deadline,
    phase_after_aggregation,
    phase_after_collection,
    phase_after_moments,
    quorum_of,
)
from backend.rounds.transitions import BY_ACTOR, DEADLINE
from backend.weights import Weights
from compute.contract import Callback, MomentsAggregated, RoundAggregated, RoundFailed

# What participants get beyond a deadline that passed while they could not deliver.
GRACE_SECONDS = 60.0
# After a decision that participants are told of; deleting competes with their requests.
DROP_AFTER_SECONDS = 0.5


class _RepeatedError(StarlingError):
    """The same upload was recorded a moment ago; leaving by an error undoes the second one."""


class Coordinator:
    """Opens, fills, closes and advances rounds."""

    def __init__(
        self,
        *,
        database: Database,
        weights: Weights,
        pusher: Pusher,
        aggregation: Aggregation,
        audit_feed: AuditFeed,
    ) -> None:
        self._database = database
        self._weights = weights
        self._pusher = pusher
        self._aggregation = aggregation
        self._audit_feed = audit_feed

    async def start(self, training_id: UUID, who: UUID) -> None:
        """Open round 0 and tell everybody.

        Raises:
            InvalidRequest: there is no participant, or the model is a mean of others.
            WrongState: it was started before.
        """
        async with self._decision(training_id) as (training, effects):
            if training.state != TrainingState.INITIAL:
                raise WrongState(f"Training {training_id} is not in state INITIAL!")
            await _require_trainable(training.model)
            participants = await records.participants_of(training_id)
            if not participants:
                raise InvalidRequest("At least one participant must be registered!")
            await records.set_state(training_id, TrainingState.ONGOING)
            await record(AuditKind.TRAINING_STARTED, training_id, who=who)
            await announce(training, NotificationType.TRAINING_START, participants, effects)
            await transitions.open_round(training, 0, {}, effects)

    async def foresee_update(self, update: NewUpdate) -> bool:
        """Whether exactly this update was accepted before, so that it need not be checked again.

        Raises, as `accept_update` would, for an update that is not wanted.
        """
        if await is_repeated_update(update):
            return True
        await collecting_round(await _read(update.training_id), update.round, update.owner)
        return False

    async def accept_update(self, update: NewUpdate) -> None:
        """Record an update whose file has been checked; the last expected one closes the round.

        The same update again is accepted and changes nothing.

        Raises:
            NotAllowed: the sender is no participant.
            Conflict: the sender delivered something else for this round, or was not drawn for it.
            LateUpdate: the round is closed.
            WrongState: the round was never open, or the training is not running.
        """
        with contextlib.suppress(_RepeatedError):
            async with (
                self._weights.recorded(update.upload),
                self._decision(update.training_id) as (training, effects),
            ):
                await records.require_participant(training.id, update.owner)
                if await is_repeated_update(update):
                    raise _RepeatedError("This was delivered a moment ago.")
                round_row = await collecting_round(training, update.round, update.owner)
                local_model = await insert_update(update, training, round_row)
                await transitions.close_if_complete(training, round_row, effects)
            aggregates = phase_after_collection(records.plan_of(training), update.round)
            if (round_row.phase, aggregates) == (Phase.COLLECTING, Phase.AGGREGATING):
                self._aggregation.fold_ahead(training, local_model)

    async def foresee_moments(self, moments: NewMoments) -> bool:
        """As `foresee_update`."""
        if await are_repeated_moments(moments):
            return True
        training = await _read(moments.training_id)
        await collecting_moments_round(training, moments.round, moments.owner)
        return False

    async def accept_moments(self, moments: NewMoments) -> None:
        """Record checked SWAG moments; the last expected ones close the SWAG round.

        Raises as `accept_update` does.
        """
        with contextlib.suppress(_RepeatedError):
            async with (
                self._weights.recorded(moments.first, moments.second),
                self._decision(moments.training_id) as (training, effects),
            ):
                await records.require_participant(training.id, moments.owner)
                if await are_repeated_moments(moments):
                    raise _RepeatedError("This was delivered a moment ago.")
                round_row = await collecting_moments_round(training, moments.round, moments.owner)
                await insert_moments(moments, training, round_row)
                await transitions.close_if_complete(training, round_row, effects)

    async def report_metrics(
        self, model_id: UUID, reporter: UUID, values: list[MetricValue]
    ) -> None:
        """Record metrics of a global model; the last expected test ends a testing round."""
        training = await Training.objects().get(Training.model == model_id)
        if training is None:
            async with self._database.write_transaction():
                await _insert_metrics(model_id, reporter, values)
            return
        async with self._decision(training.id) as (training, effects):
            step = await _insert_metrics(model_id, reporter, values)
            await record(
                AuditKind.TEST_REPORTED,
                training.id,
                who=reporter,
                round=training.round,
                model_round=step,
                metrics=[value.key for value in values],
            )
            if training.state in RUNNING:
                round_row = await records.current_round(training)
                await transitions.close_if_tested(training, round_row, effects)

    async def register(self, training_id: UUID, users: Collection[UUID], who: UUID) -> None:
        """Make users participants; who joins a running training is told what is expected now.

        Where rounds have cohorts, newcomers may be drawn from the next round on.
        """
        async with self._decision(training_id) as (training, effects):
            present = set(await records.participants_of(training_id))
            new = [user for user in dict.fromkeys(users) if user not in present]
            if not new:
                return
            await insert_all(
                Participant,
                (
                    Participant(
                        key=training_key(training_id, user), training=training_id, user=user
                    )
                    for user in new
                ),
            )
            await record(AuditKind.PARTICIPANTS_REGISTERED, training_id, who=who, users=new)
            if training.state in RUNNING:
                await announce(training, NotificationType.TRAINING_START, new, effects)
                round_row = await records.current_round(training)
                await transitions.welcome(training, round_row, new, effects)

    async def remove(self, training_id: UUID, users: Collection[UUID], who: UUID) -> None:
        """End the participation of users; a round that waited only for them goes on.

        What a removed participant delivered stays in the round.
        """
        async with self._decision(training_id) as (training, effects):
            present = await records.participants_of(training_id)
            gone = [user for user in present if user in set(users)]
            if not gone:
                return
            reason = "left" if gone == [who] and who != training.actor else "removed by the actor"
            await transitions.remove_participants(training, gone, reason, effects, who=who)
            if training.state in RUNNING and len(gone) < len(present):
                round_row = await records.current_round(training)
                await transitions.close_if_complete(training, round_row, effects)
                await transitions.close_if_tested(training, round_row, effects)
                await transitions.redraw_if_deserted(training, round_row, effects)

    async def pause(self, training_id: UUID, who: UUID) -> None:
        """Ask participants for nothing new and stop the clock; what they deliver is taken.

        Pausing a paused training changes nothing. Raises `WrongState` unless it is running.
        """
        async with self._decision(training_id) as (training, _):
            _require_running(training)
            if records.is_paused(training):
                return
            now = datetime.now(UTC)
            await Training.update({Training.paused_at: now}).where(Training.id == training_id)
            round_row = await records.current_round(training)
            if (deadline := records.deadline_of(round_row)) is not None:
                remaining = max(0.0, (deadline - now).total_seconds())
                await Round.update(
                    {Round.deadline_at: None, Round.remaining_seconds: remaining}
                ).where(Round.key == round_row.key)
            await record(AuditKind.TRAINING_PAUSED, training_id, who=who)

    async def resume(self, training_id: UUID, who: UUID) -> None:
        """Go on where `pause` stopped. Raises `WrongState` unless it is running."""
        async with self._decision(training_id) as (training, effects):
            _require_running(training)
            if not records.is_paused(training):
                return
            await training.update_self({Training.paused_at: None})
            await record(AuditKind.TRAINING_RESUMED, training_id, who=who)
            round_row = await records.current_round(training)
            remaining: float | None = round_row.remaining_seconds
            if remaining is not None:
                deadline = datetime.now(UTC) + timedelta(seconds=remaining)
                await Round.update(
                    {Round.deadline_at: deadline, Round.remaining_seconds: None}
                ).where(Round.key == round_row.key)
            if not round_row.announced:
                await transitions.enter(training, round_row, effects)

    async def close_round(self, training_id: UUID, who: UUID) -> None:
        """Wait for nobody else: aggregate what was delivered, or end the tests.

        Raises:
            WrongState: the training is not running.
            Conflict: nothing can be closed now, or fewer delivered than the quorum.
        """
        async with self._decision(training_id) as (training, effects):
            _require_running(training)
            round_row = await records.current_round(training)
            if round_row.phase == Phase.TESTING:
                await transitions.close_tests(training, round_row, BY_ACTOR, effects, who=who)
                return
            if round_row.phase not in COLLECTING_PHASES:
                raise Conflict(
                    f"Round {round_row.index} is {round_row.phase}: it waits for no participant."
                )
            delivered, needed = await _progress(training, round_row)
            least = needed if records.plan_of(training).quorum is not None else 1
            if delivered < least:
                raise Conflict(
                    f"Round {round_row.index} has {delivered} of at least {least} deliveries; "
                    "wait for more, or abort the training."
                )
            await transitions.close_collection(training, round_row, BY_ACTOR, effects, who=who)

    async def abort(self, training_id: UUID, who: UUID) -> None:
        """End a running training in state E, with the model as it is. Raises `WrongState`."""
        async with self._decision(training_id) as (training, effects):
            _require_running(training)
            await transitions.fail(
                training,
                await records.current_round(training),
                AuditKind.TRAINING_ABORTED,
                "The actor aborted the training.",
                effects,
                who=who,
            )

    async def close_due(self) -> datetime | None:
        """Handle every deadline that has passed; when the next one is, if there is any."""
        for training_id, _ in await _deadlines(until=datetime.now(UTC)):
            # Deleted since: there is nothing left to decide.
            with contextlib.suppress(NotFound):
                await self._handle_deadline(training_id)
        return min((deadline for _, deadline in await _deadlines()), default=None)

    async def grant_grace(self) -> None:
        """Give deadlines that are over, or nearly, some time: nobody could deliver until now."""
        until = datetime.now(UTC) + timedelta(seconds=GRACE_SECONDS)
        for training_id, _ in await _deadlines(until=until):
            with contextlib.suppress(NotFound):
                async with self._decision(training_id) as (training, _):
                    if (round_row := await _due_round(training, until)) is not None:
                        await transitions.postpone(training, round_row, GRACE_SECONDS)

    async def delete(self, training_id: UUID, who: UUID) -> None:
        """Remove a training in any state; participants of a running one are told."""
        async with self._decision(training_id) as (training, effects):
            if training.state in RUNNING:
                await announce(
                    training,
                    NotificationType.CLIENT_REMOVED,
                    await records.participants_of(training_id),
                    effects,
                )
            updates = await LocalModel.objects().where(LocalModel.training == training_id)
            moments = await LocalMoments.objects().where(LocalMoments.training == training_id)
            await Metric.delete().where(
                Metric.model.is_in(
                    LocalModel.select(LocalModel.id).where(LocalModel.training == training_id)
                )
            )
            await record(AuditKind.TRAINING_DELETED, training_id, who=who)
            await Training.delete().where(Training.id == training_id)
            effects.dropped += [row.digest for row in updates]
            effects.dropped += [d for row in moments for d in (row.first_digest, row.second_digest)]
            effects.ended = True

    async def apply(self, callback: Callback) -> None:
        """Take what the aggregator reports; a repeat changes nothing.

        Raises:
            NotFound: the training was deleted meanwhile.
            InvalidRequest: a reported blob is not in the store; aggregate again.
        """
        training_id = UUID(callback.training_id)
        async with self._weights.held(*_reported_blobs(callback)):
            await self._require_blobs(callback)
            async with self._decision(training_id) as (training, effects):
                round_row = await Round.objects().get(
                    Round.key == training_key(training_id, callback.round)
                )
                if round_row is None:
                    raise NotFound("Round", callback.round)
                match callback:
                    case RoundAggregated():
                        await _apply_round(training, round_row, callback, effects)
                    case MomentsAggregated():
                        await _apply_moments(training, round_row, callback, effects)
                    case RoundFailed():
                        await _apply_failure(training, round_row, callback, effects)

    @contextlib.asynccontextmanager
    async def _decision(self, training_id: UUID) -> AsyncIterator[tuple[Training, Effects]]:
        """A write transaction that holds the training's row; what follows is done after it.

        Raises `NotFound` when there is no such training (any more).
        """
        effects = Effects()
        async with self._database.write_transaction():
            training = await records.guard(training_id)
            yield training, effects
        # After the commit: a task made inside the transaction would write to it.
        self._audit_feed.wake(training_id)
        if effects.told:
            self._pusher.wake()
        if effects.order is not None:
            self._aggregation.finish(training_id, (training, effects.order))
        if effects.dropped:
            self._aggregation.spawn(self._drop(effects))
        if effects.ended:
            self._aggregation.release(training_id)

    async def _drop(self, effects: Effects) -> None:
        if effects.told:
            # Participants hear of the next round first; a crash leaves the blobs to the sweeper.
            await asyncio.sleep(DROP_AFTER_SECONDS)
        await self._weights.drop(effects.dropped)

    async def _handle_deadline(self, training_id: UUID) -> None:
        async with self._decision(training_id) as (training, effects):
            round_row = await _due_round(training, datetime.now(UTC))
            if round_row is None:
                return
            if round_row.phase == Phase.TESTING:
                await transitions.close_tests(training, round_row, DEADLINE, effects)
                return
            delivered, needed = await _progress(training, round_row)
            match at_deadline(delivered=delivered, needed=needed, extended=round_row.extended):
                case AtDeadline.CLOSE:
                    await transitions.close_collection(training, round_row, DEADLINE, effects)
                case AtDeadline.EXTEND:
                    await transitions.extend(
                        training, round_row, delivered=delivered, needed=needed
                    )
                case AtDeadline.GIVE_UP:
                    await transitions.fail(
                        training,
                        round_row,
                        AuditKind.TRAINING_FAILED,
                        f"Round {round_row.index} was given up: {delivered} of at least {needed} "
                        "participants delivered before the deadline, which had been extended once.",
                        effects,
                    )

    async def _require_blobs(self, callback: Callback) -> None:
        for digest in _reported_blobs(callback):
            if not await asyncio.to_thread(self._weights.blobs.exists, digest):
                raise InvalidRequest(f"There is no blob {digest}.")


def _reported_blobs(callback: Callback) -> tuple[str, ...]:
    match callback:
        case RoundAggregated():
            return (callback.digest,)
        case MomentsAggregated():
            return (callback.first_digest, callback.second_digest)
        case RoundFailed():
            return ()


async def _apply_round(
    training: Training, round_row: Round, callback: RoundAggregated, effects: Effects
) -> None:
    if round_row.phase != Phase.AGGREGATING:
        return
    index = callback.round
    await records.move(round_row, phase_after_aggregation(records.plan_of(training), index))
    await Round.update(
        {
            Round.figures: msgspec.json.encode(callback.figures).decode(),
            Round.aggregated_at: datetime.now(UTC),
        }
    ).where(Round.key == round_row.key)
    await _record_aggregation(training, round_row, callback)
    await transitions.add_version(
        training, index + 1, callback.digest, callback.size_bytes, effects
    )
    await transitions.forget_updates(training, index, effects)
    await transitions.enter(training, round_row, effects)


async def _record_aggregation(
    training: Training, round_row: Round, callback: RoundAggregated
) -> None:
    rows = await LocalModel.select(
        LocalModel.id, LocalModel.owner, LocalModel.digest, LocalModel.sample_size
    ).where(LocalModel.round_key == round_row.key)
    updates = {
        str(row["id"]): {
            "update": row["id"],
            "owner": row["owner"],
            "digest": row["digest"],
            "sample_size": row["sample_size"],
        }
        for row in rows
    }
    await record(
        AuditKind.ROUND_AGGREGATED,
        training.id,
        round=round_row.index,
        base_digest=await records.base_key(training.model, round_row.index),
        strategy=records.strategy_of(training),
        accumulate=records.options_of(training).accumulate,
        device=callback.figures.device,
        torch=callback.figures.torch,
        updates=[updates[update_id] for update_id in callback.figures.fold_order],
        digest=callback.digest,
        size_bytes=callback.size_bytes,
    )


async def _apply_moments(
    training: Training, round_row: Round, callback: MomentsAggregated, effects: Effects
) -> None:
    if round_row.phase != Phase.AGGREGATING_MOMENTS:
        return
    index = callback.round
    await records.move(round_row, phase_after_moments(records.plan_of(training), index))
    model = await GlobalModel.objects().get(GlobalModel.id == training.model)
    if model is not None:
        superseded = (model.swag_first_digest, model.swag_second_digest)
        effects.dropped += [digest for digest in superseded if digest]
    await GlobalModel.update(
        {
            GlobalModel.swag_first_digest: callback.first_digest,
            GlobalModel.swag_second_digest: callback.second_digest,
        }
    ).where(GlobalModel.id == training.model)
    rows = await records.moments_of(round_row.key)
    await record(
        AuditKind.MOMENTS_AGGREGATED,
        training.id,
        round=index,
        base_digest=await records.base_key(training.model, index + 1),
        moments=[
            {
                "moments": row.id,
                "owner": row.owner,
                "first_digest": row.first_digest,
                "second_digest": row.second_digest,
                "sample_size": row.sample_size,
            }
            for row in rows
        ],
        first_digest=callback.first_digest,
        second_digest=callback.second_digest,
    )
    await transitions.forget_moments(training, index, effects)
    await transitions.enter(training, round_row, effects)


async def _apply_failure(
    training: Training, round_row: Round, callback: RoundFailed, effects: Effects
) -> None:
    if round_row.phase not in (Phase.AGGREGATING, Phase.AGGREGATING_MOMENTS):
        return
    await transitions.fail(
        training,
        round_row,
        AuditKind.TRAINING_FAILED,
        f"Round {callback.round} could not be aggregated: {callback.reason}",
        effects,
    )


async def _insert_metrics(model_id: UUID, reporter: UUID, values: list[MetricValue]) -> int:
    """Record metrics of the model as it is now; its round. Raises `NotFound`."""
    current = await GlobalModel.objects().get(GlobalModel.id == model_id)
    if current is None:
        raise NotFound("Model", model_id)
    await insert_all(Metric, metric_rows(model_id, reporter, current.round, values))
    return int(current.round)


async def _progress(training: Training, round_row: Round) -> tuple[int, int]:
    """How many delivered what a round collects, and how many are enough at the deadline."""
    participants = await records.participants_of(training.id)
    expected = records.expected_of(round_row, participants)
    delivered = await records.delivered_by(round_row)
    return len(delivered), quorum_of(records.plan_of(training).quorum, len(expected))


async def _deadlines(until: datetime | None = None) -> list[tuple[UUID, datetime]]:
    """Training and deadline of open rounds that have one, up to a moment."""
    query = Round.select(Round.training, Round.deadline_at).where(
        Round.phase.is_in([phase.value for phase in WAITING_PHASES])
        & Round.deadline_at.is_not_null()
    )
    if until is not None:
        query = query.where(Round.deadline_at <= until)
    return [(row["training"], row["deadline_at"]) for row in await query]


async def _due_round(training: Training, moment: datetime) -> Round | None:
    """The training's round, if it waits for participants and its deadline is not after `moment`."""
    if training.state not in RUNNING:
        return None
    row = await records.current_round(training)
    waits = row.phase in WAITING_PHASES
    deadline = records.deadline_of(row)
    return row if waits and deadline is not None and deadline <= moment else None


async def _read(training_id: UUID) -> Training:
    training = await Training.objects().get(Training.id == training_id)
    if training is None:
        raise NotFound("Training", training_id)
    return training


def _require_running(training: Training) -> None:
    if training.state not in RUNNING:
        raise WrongState(
            f"Training {training.id} is in state {training.state}; only a running one can be "
            "paused, resumed, aborted, or have its round closed."
        )


async def _require_trainable(model_id: UUID) -> None:
    if await GlobalModel.exists().where(
        (GlobalModel.id == model_id) & (GlobalModel.kind == "MEAN")
    ):
        raise InvalidRequest("A mean model cannot be trained; it is there for predictions.")
