"""The sole writer of trainings' states and rounds.

Guarantees: when a method returns, what it did is committed; when it raises, nothing was. Every
decision is made inside one write transaction that first updates the training's row, so that
decisions about one training happen one after the other, on SQLite and on PostgreSQL. A lost answer
may be asked for again: a repeated update, callback or start changes nothing.
"""

import asyncio
import contextlib
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec

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
from backend.errors import Conflict, InvalidRequest, NotFound, WrongState
from backend.metrics.values import MetricValue, metric_rows
from backend.notifications.outbox import NotificationType
from backend.notifications.pusher import Pusher
from backend.rounds import records
from backend.rounds.aggregation import Aggregation
from backend.rounds.announcements import announce, announce_phase
from backend.rounds.daisy_chain import hand_on
from backend.rounds.state import (
    RUNNING,
    OpenRound,
    Phase,
    TrainingState,
    all_tests_in,
    all_updates_in,
    phase_after_aggregation,
    phase_after_collection,
    phase_after_moments,
    step_after,
)
from backend.weights import Weights
from compute.blobs import Staged
from compute.contract import Callback, MomentsAggregated, RoundAggregated, RoundFailed


class NewUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A checked update on its way in."""

    training_id: UUID
    owner: UUID
    round: int
    sample_size: int
    upload: Staged
    metrics: list[MetricValue]


class NewMoments(msgspec.Struct, frozen=True, kw_only=True):
    """Checked SWAG moments on their way in; `round` is the model's, one above the round's index."""

    training_id: UUID
    owner: UUID
    round: int
    sample_size: int
    first: Staged
    second: Staged


class _RepeatedError(Exception):
    """The same upload was recorded a moment ago; leaving by an error undoes the second one."""


class Effects(msgspec.Struct):
    """What follows from a decision once it is committed.

    Attributes:
        aggregate: A collection was closed: order its aggregation.
        ended: The training needs no aggregator any more.
        dropped: Blobs that may have lost their last reference.
    """

    aggregate: bool = False
    ended: bool = False
    dropped: list[str] = []


class Coordinator:
    """Opens, fills, closes and advances rounds."""

    def __init__(
        self, *, database: Database, weights: Weights, pusher: Pusher, aggregation: Aggregation
    ) -> None:
        self._database = database
        self._weights = weights
        self._pusher = pusher
        self._aggregation = aggregation

    async def start(self, training_id: UUID) -> None:
        """Open round 0 and tell everybody.

        Raises:
            InvalidRequest: there is no participant, or the model is a mean of others.
            WrongState: it was started before.
        """
        async with self._database.write_transaction():
            training = await records.guard(training_id)
            if training.state != TrainingState.INITIAL:
                raise WrongState(f"Training {training_id} is not in state INITIAL!")
            await _require_trainable(training.model)
            participants = await records.participants_of(training_id)
            if not participants:
                raise InvalidRequest("At least one participant must be registered!")
            await records.set_state(training_id, TrainingState.ONGOING)
            await announce(training, NotificationType.TRAINING_START, participants)
            await self._open_round(training, 0, participants, {})
        self._follow(training_id, Effects())

    async def accept_update(self, update: NewUpdate) -> None:
        """Record an update whose file has been checked; the last expected one closes the round.

        The same update again is accepted and changes nothing.

        Raises:
            NotAllowed: the sender is no participant.
            Conflict: the sender delivered something else for this round.
            WrongState: the round is not the one that collects updates.
        """
        if await _is_repeated_update(update):
            return
        with contextlib.suppress(_RepeatedError):
            await self._record_update(update)

    async def _record_update(self, update: NewUpdate) -> None:
        effects = Effects()
        async with self._weights.recorded(update.upload), self._database.write_transaction():
            training = await records.guard(update.training_id)
            await records.require_participant(training.id, update.owner)
            if await _is_repeated_update(update):
                raise _RepeatedError
            round_row = await _collecting(training, update.round)
            local_model = _local_model(update, training, round_row)
            await LocalModel.insert(local_model)
            await insert_all(
                Metric, metric_rows(local_model.id, update.owner, update.round, update.metrics)
            )
            await self._close_if_complete(training, round_row, effects)
        aggregates = phase_after_collection(records.plan_of(training), update.round)
        if (round_row.phase, aggregates) == (Phase.COLLECTING, Phase.AGGREGATING):
            self._aggregation.fold_ahead(training, local_model)
        self._follow(training.id, effects)

    async def accept_moments(self, moments: NewMoments) -> None:
        """Record checked SWAG moments; the last expected ones close the SWAG round.

        Raises as `accept_update` does.
        """
        if await _are_repeated_moments(moments):
            return
        with contextlib.suppress(_RepeatedError):
            await self._record_moments(moments)

    async def _record_moments(self, moments: NewMoments) -> None:
        effects = Effects()
        async with (
            self._weights.recorded(moments.first, moments.second),
            self._database.write_transaction(),
        ):
            training = await records.guard(moments.training_id)
            await records.require_participant(training.id, moments.owner)
            if await _are_repeated_moments(moments):
                raise _RepeatedError
            round_row = await _collecting_moments(training, moments.round)
            await LocalMoments.insert(
                LocalMoments(
                    id=uuid4(),
                    key=_moments_key(moments),
                    round_key=round_row.key,
                    training=training.id,
                    owner=moments.owner,
                    first_digest=moments.first.digest,
                    second_digest=moments.second.digest,
                    sample_size=moments.sample_size,
                )
            )
            await self._close_if_complete(training, round_row, effects)
        self._follow(training.id, effects)

    async def report_metrics(
        self, model: GlobalModel, reporter: UUID, values: list[MetricValue]
    ) -> None:
        """Record metrics of a global model; the last expected test ends a testing round."""
        training = await Training.objects().get(Training.model == model.id)
        effects = Effects()
        async with self._database.write_transaction():
            if training is not None:
                training = await records.guard(training.id)
            current = await GlobalModel.objects().get(GlobalModel.id == model.id)
            if current is None:
                raise NotFound("Model", model.id)
            await insert_all(Metric, metric_rows(model.id, reporter, current.round, values))
            if training is not None and training.state in RUNNING:
                await self._advance_if_tested(
                    training, await records.current_round(training), effects
                )
        if training is not None:
            self._follow(training.id, effects)

    async def register(self, training_id: UUID, users: Collection[UUID]) -> None:
        """Make users participants; who joins a running training is told what is expected now."""
        async with self._database.write_transaction():
            training = await records.guard(training_id)
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
            if training.state in RUNNING:
                await announce(training, NotificationType.TRAINING_START, new)
                await announce_phase(training, await records.current_round(training), new)
        self._follow(training_id, Effects())

    async def remove(self, training_id: UUID, users: Collection[UUID]) -> None:
        """End the participation of users; a round that waited only for them goes on.

        What a removed participant delivered stays in the round.
        """
        effects = Effects()
        async with self._database.write_transaction():
            training = await records.guard(training_id)
            present = await records.participants_of(training_id)
            gone = [user for user in present if user in set(users)]
            if not gone:
                return
            await Participant.delete().where(
                Participant.key.is_in([training_key(training_id, user) for user in gone])
            )
            await announce(training, NotificationType.CLIENT_REMOVED, gone)
            if training.state in RUNNING and len(gone) < len(present):
                round_row = await records.current_round(training)
                await self._close_if_complete(training, round_row, effects)
                await self._advance_if_tested(training, round_row, effects)
        self._follow(training_id, effects)

    async def delete(self, training_id: UUID) -> None:
        """Remove a training in any state; participants of a running one are told."""
        async with self._database.write_transaction():
            training = await records.guard(training_id)
            if training.state in RUNNING:
                await announce(
                    training,
                    NotificationType.CLIENT_REMOVED,
                    await records.participants_of(training_id),
                )
            updates = await LocalModel.objects().where(LocalModel.training == training_id)
            moments = await LocalMoments.objects().where(LocalMoments.training == training_id)
            await Metric.delete().where(
                Metric.model.is_in(
                    LocalModel.select(LocalModel.id).where(LocalModel.training == training_id)
                )
            )
            await Training.delete().where(Training.id == training_id)
        dropped = [row.digest for row in updates]
        dropped += [digest for row in moments for digest in (row.first_digest, row.second_digest)]
        self._follow(training_id, Effects(ended=True, dropped=dropped))

    async def apply(self, callback: Callback) -> None:
        """Take what the aggregator reports; a repeat changes nothing.

        Raises:
            NotFound: the training was deleted meanwhile.
            InvalidRequest: a reported blob is not in the store; aggregate again.
        """
        training_id = UUID(callback.training_id)
        effects = Effects()
        await self._require_blobs(callback)
        async with self._database.write_transaction():
            training = await records.guard(training_id)
            round_row = await Round.objects().get(
                Round.key == training_key(training_id, callback.round)
            )
            if round_row is None:
                raise NotFound("Round", callback.round)
            match callback:
                case RoundAggregated():
                    await self._apply_round(training, round_row, callback, effects)
                case MomentsAggregated():
                    await self._apply_moments(training, round_row, callback, effects)
                case RoundFailed():
                    await self._apply_failure(training, round_row, callback, effects)
        self._follow(training_id, effects)

    async def _close_if_complete(
        self, training: Training, round_row: Round, effects: Effects
    ) -> None:
        """Close a collection when nobody is missing; exactly one caller does."""
        if round_row.phase not in (Phase.COLLECTING, Phase.COLLECTING_MOMENTS):
            return
        participants = await records.participants_of(training.id)
        if not all_updates_in(set(participants), await records.delivered_by(round_row)):
            return
        if round_row.phase == Phase.COLLECTING_MOMENTS:
            effects.aggregate = await records.move(round_row, Phase.AGGREGATING_MOMENTS)
            return
        phase = phase_after_collection(records.plan_of(training), round_row.index)
        if not await records.move(round_row, phase):
            return
        if phase == Phase.AGGREGATING:
            effects.aggregate = True
        else:
            await self._hand_on(training, round_row, participants, effects)

    async def _hand_on(
        self, training: Training, round_row: Round, participants: list[UUID], effects: Effects
    ) -> None:
        """Open the next round of a daisy chain, in which everybody continues another's model."""
        index = round_row.index
        model = await GlobalModel.objects().get(GlobalModel.id == training.model)
        if model is None:
            raise NotFound("Model", training.model)
        await records.add_version(model.id, index + 1, model.digest, model.size_bytes)
        delivered = await LocalModel.select(LocalModel.id).where(
            LocalModel.round_key == round_row.key
        )
        options = records.options_of(training)
        handed = hand_on(
            participants, [row["id"] for row in delivered], f"{options.seed}:{training.id}:{index}"
        )
        if options.delete_local_models_after_aggregation and index > 0:
            effects.dropped += await records.forget_updates(training.id, [index - 1])
        await self._open_round(training, index + 1, participants, handed)

    async def _apply_round(
        self, training: Training, round_row: Round, callback: RoundAggregated, effects: Effects
    ) -> None:
        if round_row.phase != Phase.AGGREGATING:
            return
        plan, index = records.plan_of(training), callback.round
        await records.move(round_row, phase_after_aggregation(plan, index))
        await Round.update(
            {
                Round.figures: msgspec.json.encode(callback.figures).decode(),
                Round.aggregated_at: datetime.now(UTC),
            }
        ).where(Round.key == round_row.key)
        await records.add_version(training.model, index + 1, callback.digest, callback.size_bytes)
        if records.options_of(training).delete_local_models_after_aggregation:
            # In a daisy chain, the models that were handed on last are of the round before.
            rounds = [index, index - 1] if index > 0 else [index]
            effects.dropped += await records.forget_updates(training.id, rounds)
        await self._enter(training, round_row, effects)

    async def _apply_moments(
        self, training: Training, round_row: Round, callback: MomentsAggregated, effects: Effects
    ) -> None:
        if round_row.phase != Phase.AGGREGATING_MOMENTS:
            return
        await records.move(
            round_row, phase_after_moments(records.plan_of(training), callback.round)
        )
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
        if records.options_of(training).delete_local_models_after_aggregation:
            effects.dropped += await records.forget_moments(round_row.key)
        await self._enter(training, round_row, effects)

    async def _apply_failure(
        self, training: Training, round_row: Round, callback: RoundFailed, effects: Effects
    ) -> None:
        """End the training in state E; who waits for the next round is told that none comes."""
        if round_row.phase not in (Phase.AGGREGATING, Phase.AGGREGATING_MOMENTS):
            return
        await records.move(round_row, Phase.CLOSED)
        await records.set_state(
            round_row.training,
            TrainingState.ERROR,
            f"Round {callback.round} could not be aggregated: {callback.reason}",
        )
        participants = await records.participants_of(training.id)
        await announce(
            training, NotificationType.TRAINING_FINISHED, [*participants, training.actor]
        )
        effects.ended = True

    async def _enter(self, training: Training, round_row: Round, effects: Effects) -> None:
        """Go on in the phase that the round was just moved to."""
        participants = await records.participants_of(training.id)
        if round_row.phase == Phase.CLOSED:
            await self._go_on(training, round_row, participants, effects)
            return
        await announce_phase(training, round_row, participants)
        await self._advance_if_tested(training, round_row, effects)

    async def _advance_if_tested(
        self, training: Training, round_row: Round, effects: Effects
    ) -> None:
        """Close a testing round when every test is in."""
        if round_row.phase != Phase.TESTING:
            return
        participants = await records.participants_of(training.id)
        tested = await records.tested_by(training.model, round_row.index + 1)
        if all_tests_in(set(participants), tested) and await records.move(round_row, Phase.CLOSED):
            await self._go_on(training, round_row, participants, effects)

    async def _go_on(
        self, training: Training, round_row: Round, participants: list[UUID], effects: Effects
    ) -> None:
        """Open the next round, or complete the training."""
        step = step_after(records.plan_of(training), round_row.index)
        if isinstance(step, OpenRound):
            await self._open_round(training, step.index, participants, {})
            return
        await records.set_state(training.id, TrainingState.COMPLETED)
        await announce(
            training, NotificationType.TRAINING_FINISHED, [*participants, training.actor]
        )
        effects.ended = True

    async def _open_round(
        self,
        training: Training,
        index: int,
        participants: list[UUID],
        handed: dict[UUID, UUID],
    ) -> None:
        await Training.update({Training.round: index}).where(Training.id == training.id)
        row = Round(
            key=training_key(training.id, index),
            training=training.id,
            index=index,
            phase=Phase.COLLECTING.value,
            handed_on=msgspec.json.encode(handed).decode(),
        )
        await Round.insert(row)
        await announce_phase(training, row, participants)

    async def _require_blobs(self, callback: Callback) -> None:
        digests: tuple[str, ...] = ()
        if isinstance(callback, RoundAggregated):
            digests = (callback.digest,)
        elif isinstance(callback, MomentsAggregated):
            digests = (callback.first_digest, callback.second_digest)
        for digest in digests:
            if not await asyncio.to_thread(self._weights.blobs.exists, digest):
                raise InvalidRequest(f"There is no blob {digest}.")

    def _follow(self, training_id: UUID, effects: Effects) -> None:
        """Set going what follows from a decision.

        Constraints: MUST be called after its transaction: a task made inside would write to it.
        """
        self._pusher.wake()
        if effects.aggregate:
            self._aggregation.finish(training_id)
        if effects.dropped:
            self._aggregation.spawn(self._weights.drop(effects.dropped))
        if effects.ended:
            self._aggregation.release(training_id)


def _local_model(update: NewUpdate, training: Training, round_row: Round) -> LocalModel:
    return LocalModel(
        id=uuid4(),
        key=_update_key(update),
        round_key=round_row.key,
        training=training.id,
        base_model=training.model,
        round=update.round,
        owner=update.owner,
        digest=update.upload.digest,
        size_bytes=update.upload.size_bytes,
        sample_size=update.sample_size,
    )


def _update_key(update: NewUpdate) -> str:
    return training_key(update.training_id, update.round, update.owner)


def _moments_key(moments: NewMoments) -> str:
    return training_key(moments.training_id, moments.round, moments.owner)


async def _is_repeated_update(update: NewUpdate) -> bool:
    """Whether exactly this update was accepted before. Raises `Conflict` for another one."""
    accepted = await LocalModel.objects().get(LocalModel.key == _update_key(update))
    if accepted is None:
        return False
    if (accepted.digest, accepted.sample_size) != (update.upload.digest, update.sample_size):
        raise Conflict(
            f"You delivered another update for round {update.round} of training "
            f"{update.training_id} already."
        )
    return True


async def _are_repeated_moments(moments: NewMoments) -> bool:
    """Whether exactly these moments were accepted before. Raises `Conflict` for others."""
    row = await LocalMoments.objects().get(LocalMoments.key == _moments_key(moments))
    if row is None:
        return False
    accepted = (row.first_digest, row.second_digest, row.sample_size)
    if accepted != (moments.first.digest, moments.second.digest, moments.sample_size):
        raise Conflict(
            f"You delivered other moments for round {moments.round} of training "
            f"{moments.training_id} already."
        )
    return True


async def _collecting(training: Training, index: int) -> Round:
    """The round, if it collects updates now. Raises `WrongState`."""
    if training.state not in RUNNING:
        raise WrongState(f"Training with ID {training.id} is in state {training.state}")
    if training.round != index:
        raise WrongState(
            f"Training with ID {training.id} is not currently in round {index}, but in round "
            f"{training.round}."
        )
    row = await records.current_round(training)
    if row.phase != Phase.COLLECTING:
        raise WrongState(
            f"Training with ID {training.id} takes no updates for round {index} any more: "
            f"the round is {row.phase}."
        )
    return row


async def _collecting_moments(training: Training, model_round: int) -> Round:
    """The round, if it collects SWAG moments now. Raises `WrongState`."""
    if training.state != TrainingState.SWAG_ROUND:
        raise WrongState(f"Training with ID {training.id} is in state {training.state}")
    row = await records.current_round(training)
    if row.index + 1 != model_round:
        raise WrongState(
            f"Training with ID {training.id} is not currently in round {model_round}, but in "
            f"round {row.index + 1}."
        )
    if row.phase != Phase.COLLECTING_MOMENTS:
        raise WrongState(f"Training with ID {training.id} takes no moments any more.")
    return row


async def _require_trainable(model_id: UUID) -> None:
    if await GlobalModel.exists().where(
        (GlobalModel.id == model_id) & (GlobalModel.kind == "MEAN")
    ):
        raise InvalidRequest("A mean model cannot be trained; it is there for predictions.")
