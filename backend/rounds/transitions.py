"""Moves a training on: what the coordinator writes once it has decided under the training's lock.

Constraints: everything here runs inside the coordinator's write transaction. What can only be done
after the commit is noted in `Effects`.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from backend.audit.events import AuditKind, record
from backend.db.tables import GlobalModel, LocalModel, Participant, Round, Training, training_key
from backend.errors import NotFound
from backend.notifications.outbox import NotificationType
from backend.rounds import records
from backend.rounds.announcements import announce, announce_phase
from backend.rounds.daisy_chain import hand_on
from backend.rounds.effects import Effects
from backend.rounds.orders import order_of
from backend.rounds.state import (
    COLLECTING_PHASES,
    OpenRound,
    Phase,
    TrainingState,
    all_tests_in,
    all_updates_in,
    draw_cohort,
    phase_after_collection,
    step_after,
)

COMPLETE = "complete"
DEADLINE = "deadline"
BY_ACTOR = "closed by the actor"


async def close_if_complete(training: Training, round_row: Round, effects: Effects) -> None:
    """Close a collection when nobody is missing; exactly one caller does."""
    if round_row.phase not in COLLECTING_PHASES:
        return
    if await records.surely_incomplete(round_row):
        return
    participants = await records.participants_of(training.id)
    expected = set(records.expected_of(round_row, participants))
    if all_updates_in(expected, await records.delivered_by(round_row)):
        await close_collection(training, round_row, COMPLETE, effects)


async def close_collection(
    training: Training,
    round_row: Round,
    reason: str,
    effects: Effects,
    *,
    who: UUID | None = None,
) -> None:
    """Take no more updates, or moments, and have what is there aggregated or handed on."""
    participants = await records.participants_of(training.id)
    delivered = await records.delivered_by(round_row)
    missing = [u for u in records.expected_of(round_row, participants) if u not in delivered]
    moments = round_row.phase == Phase.COLLECTING_MOMENTS
    phase = (
        Phase.AGGREGATING_MOMENTS
        if moments
        else phase_after_collection(records.plan_of(training), round_row.index)
    )
    if not await records.move(round_row, phase):
        return
    await record(
        AuditKind.MOMENTS_CLOSED if moments else AuditKind.ROUND_CLOSED,
        training.id,
        who=who,
        round=round_row.index,
        reason=reason,
        missing=missing,
    )
    if reason == DEADLINE and missing and records.options_of(training).on_missed == "remove":
        await remove_participants(training, missing, "missed the round", effects, who=None)
        participants = [user for user in participants if user not in set(missing)]
    if phase == Phase.CLOSED:
        await _hand_on(training, round_row, participants, effects)
    else:
        effects.order = await order_of(training, round_row)


async def close_if_tested(training: Training, round_row: Round, effects: Effects) -> None:
    """Close a testing round when every test is in."""
    if round_row.phase != Phase.TESTING:
        return
    if not await missing_tests(training, round_row):
        await close_tests(training, round_row, COMPLETE, effects)


async def close_tests(
    training: Training,
    round_row: Round,
    reason: str,
    effects: Effects,
    *,
    who: UUID | None = None,
) -> None:
    """Wait for no more tests; go on with the next round, or complete the training."""
    missing = await missing_tests(training, round_row)
    if not await records.move(round_row, Phase.CLOSED):
        return
    await record(
        AuditKind.TESTS_CLOSED,
        training.id,
        who=who,
        round=round_row.index,
        reason=reason,
        missing=missing,
    )
    await _go_on(training, round_row, effects)


async def missing_tests(training: Training, round_row: Round) -> list[UUID]:
    """Who was asked to test the round's model and has not reported."""
    expected = records.expected_of(round_row, await records.participants_of(training.id))
    tested = await records.tested_by(training.model, round_row.index + 1)
    if all_tests_in(set(expected), tested):
        return []
    return [user for user in expected if user not in tested]


async def enter(training: Training, round_row: Round, effects: Effects) -> None:
    """Go on in the phase that the round was just moved to."""
    if round_row.phase == Phase.CLOSED:
        await _go_on(training, round_row, effects)
        return
    await ask(training, round_row, await records.drawn_of(round_row), effects)
    await close_if_tested(training, round_row, effects)


async def open_round(
    training: Training, index: int, handed: dict[UUID, UUID], effects: Effects
) -> None:
    """Begin a round: draw its cohort, if only some take part, and ask for updates."""
    await Training.update({Training.round: index}).where(Training.id == training.id)
    training.round = index
    row = Round(
        key=training_key(training.id, index),
        training=training.id,
        index=index,
        phase=Phase.COLLECTING.value,
        handed_on=msgspec.json.encode(handed).decode(),
        cohort=_encoded(await _drawn(training, index)),
    )
    await Round.insert(row)
    deadline = await ask(training, row, await records.drawn_of(row), effects)
    await record(
        AuditKind.ROUND_OPENED,
        training.id,
        round=index,
        base_digest=await records.base_key(training.model, index),
        cohort=_shown(row),
        deadline_at=deadline,
    )


async def ask(
    training: Training, round_row: Round, recipients: Collection[UUID] | None, effects: Effects
) -> datetime | None:
    """Tell what is expected now, and start the time for it; gives the deadline.

    Without recipients it is everybody who takes part. While the training is paused nobody is asked;
    resuming asks.
    """
    if records.is_paused(training):
        await Round.update({Round.announced: False}).where(Round.key == round_row.key)
        return None
    seconds = _seconds_for(training, Phase(round_row.phase))
    deadline = None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    await Round.update({Round.announced: True, Round.deadline_at: deadline}).where(
        Round.key == round_row.key
    )
    round_row.deadline_at = deadline
    await announce_phase(training, round_row, recipients, effects)
    return deadline


async def extend(training: Training, round_row: Round, *, delivered: int, needed: int) -> None:
    """Give the participants of a collection the same time once more."""
    seconds = _seconds_for(training, Phase(round_row.phase)) or 0.0
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    await Round.update({Round.deadline_at: deadline, Round.extended: True}).where(
        Round.key == round_row.key
    )
    await record(
        AuditKind.ROUND_EXTENDED,
        training.id,
        round=round_row.index,
        delivered=delivered,
        needed=needed,
        deadline_at=deadline,
    )


async def postpone(training: Training, round_row: Round, seconds: float) -> None:
    """Move a deadline that passed while nobody could deliver; this is not the extension."""
    allowed = _seconds_for(training, Phase(round_row.phase)) or seconds
    until = datetime.now(UTC) + timedelta(seconds=min(seconds, allowed))
    deadline = records.deadline_of(round_row)
    if deadline is not None and until <= deadline:
        return
    await Round.update({Round.deadline_at: until}).where(Round.key == round_row.key)
    await record(
        AuditKind.ROUND_EXTENDED,
        training.id,
        round=round_row.index,
        reason="nothing could be delivered while the server was away",
        deadline_at=until,
    )


async def welcome(
    training: Training, round_row: Round, newcomers: Collection[UUID], effects: Effects
) -> None:
    """Tell who just joined what the open round expects of them, if anything."""
    if await redraw_if_deserted(training, round_row, effects):
        return
    if not records.is_paused(training) and round_row.announced:
        expected = records.expected_of(round_row, newcomers)
        await announce_phase(training, round_row, expected, effects)


async def redraw_if_deserted(training: Training, round_row: Round, effects: Effects) -> bool:
    """Draw, and ask, a new cohort when the old one has left without delivering; whether it did."""
    if records.cohort_of(round_row) is None or round_row.phase not in COLLECTING_PHASES:
        return False
    participants = await records.participants_of(training.id)
    if records.expected_of(round_row, participants) or not participants:
        return False
    if await records.delivered_by(round_row):
        return False
    cohort = _encoded(await _drawn(training, round_row.index))
    await Round.update({Round.cohort: cohort}).where(Round.key == round_row.key)
    round_row = await records.current_round(training)
    await ask(training, round_row, await records.drawn_of(round_row), effects)
    await record(
        AuditKind.COHORT_REDRAWN,
        training.id,
        round=round_row.index,
        cohort=_shown(round_row),
    )
    return True


async def remove_participants(
    training: Training,
    users: Collection[UUID],
    reason: str,
    effects: Effects,
    *,
    who: UUID | None,
) -> None:
    """End the participation of users and tell them; what they delivered stays in its round."""
    await Participant.delete().where(
        Participant.key.is_in([training_key(training.id, user) for user in users])
    )
    await announce(training, NotificationType.CLIENT_REMOVED, users, effects)
    await record(
        AuditKind.PARTICIPANTS_REMOVED, training.id, who=who, users=list(users), reason=reason
    )


async def add_version(
    training: Training, index: int, digest: str, size_bytes: int, effects: Effects
) -> None:
    """Make these the weights after round `index - 1`; drop versions whose time is over."""
    await records.add_version(training.model, index, digest, size_bytes)
    keep = records.options_of(training).keep_versions
    if keep is None:
        return
    rounds, digests = await records.forget_versions(training.model, index + 1 - keep)
    effects.dropped += digests
    if rounds:
        await record(AuditKind.VERSIONS_DELETED, training.id, rounds=sorted(rounds))


async def forget_updates(training: Training, through_round: int, effects: Effects) -> None:
    """Drop the weights of updates up to and of a round, except those to be kept longer."""
    kept = records.options_of(training).kept_rounds
    if kept is None:
        return
    digests = await records.forget_updates(training.id, through_round - kept)
    effects.dropped += digests
    if digests:
        await record(AuditKind.UPDATES_DELETED, training.id, through_round=through_round - kept)


async def forget_moments(training: Training, index: int, effects: Effects) -> None:
    """Drop the moments of a round, or of the one whose time to be kept is over with it."""
    kept = records.options_of(training).kept_rounds
    if kept is not None:
        effects.dropped += await records.forget_moments(training_key(training.id, index - kept))


async def fail(
    training: Training,
    round_row: Round,
    kind: AuditKind,
    reason: str,
    effects: Effects,
    *,
    who: UUID | None = None,
) -> None:
    """End the training in state E; who waits for the next round is told that none comes."""
    await records.move(round_row, Phase.CLOSED)
    await records.set_state(training.id, TrainingState.ERROR, reason)
    await record(kind, training.id, who=who, round=round_row.index, reason=reason)
    await forget_updates(training, round_row.index, effects)
    await _end(training, effects)


async def _hand_on(
    training: Training, round_row: Round, participants: list[UUID], effects: Effects
) -> None:
    """Open the next round of a daisy chain, in which everybody continues another's model."""
    index = round_row.index
    model = await GlobalModel.objects().get(GlobalModel.id == training.model)
    if model is None:
        raise NotFound("Model", training.model)
    await add_version(training, index + 1, model.digest, model.size_bytes, effects)
    delivered = await LocalModel.select(LocalModel.id).where(LocalModel.round_key == round_row.key)
    seed = records.options_of(training).seed
    handed = hand_on(
        participants, [row["id"] for row in delivered], f"{seed}:{training.id}:{index}"
    )
    await record(AuditKind.ROUND_HANDED_ON, training.id, round=index, handed_on=handed)
    await forget_updates(training, index - 1, effects)
    await open_round(training, index + 1, handed, effects)


async def _go_on(training: Training, round_row: Round, effects: Effects) -> None:
    """Open the next round, or complete the training."""
    step = step_after(records.plan_of(training), round_row.index)
    if isinstance(step, OpenRound):
        await open_round(training, step.index, {}, effects)
        return
    await records.set_state(training.id, TrainingState.COMPLETED)
    await record(AuditKind.TRAINING_COMPLETED, training.id)
    await _end(training, effects)


async def _end(training: Training, effects: Effects) -> None:
    await Training.update({Training.paused_at: None}).where(Training.id == training.id)
    participants = await records.participants_of(training.id)
    told = [*participants, training.actor]
    await announce(training, NotificationType.TRAINING_FINISHED, told, effects)
    effects.ended = True


async def _drawn(training: Training, index: int) -> list[UUID] | None:
    options = records.options_of(training)
    if options.cohort is None:
        return None
    participants = await records.participants_of(training.id)
    return draw_cohort(participants, options.cohort, f"{options.seed}:{training.id}:{index}")


def _shown(round_row: Round) -> list[UUID] | None:
    cohort = records.cohort_of(round_row)
    return None if cohort is None else sorted(cohort)


def _encoded(cohort: list[UUID] | None) -> str | None:
    return None if cohort is None else msgspec.json.encode(cohort).decode()


def _seconds_for(training: Training, phase: Phase) -> float | None:
    options = records.options_of(training)
    if phase == Phase.TESTING:
        return options.test_deadline_seconds
    return options.round_deadline_seconds if phase in COLLECTING_PHASES else None
