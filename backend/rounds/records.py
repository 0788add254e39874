"""Rows of trainings and rounds: read, locked, moved. What writes runs in a transaction."""

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import msgspec
from piccolo.columns.base import Column
from piccolo.columns.combination import WhereRaw

from backend.db.tables import (
    GlobalModel,
    LocalModel,
    LocalMoments,
    Metric,
    ModelVersion,
    Participant,
    Round,
    Training,
    training_key,
)
from backend.errors import NotAllowed, NotFound
from backend.rounds.state import MOMENT_PHASES, Phase, Plan, TrainingState, require_transition
from backend.trainings.options import TrainingOptions, parse_options


async def guard(training_id: UUID) -> Training:
    """The training, locked against other decisions until the transaction ends.

    Raises:
        NotFound: it does not exist (any more).
    """
    locked = (
        await Training.update({Training.last_update: datetime.now(UTC)})
        .where(Training.id == training_id)
        .returning(*Training.all_columns())
    )
    if not locked:
        raise NotFound("Training", training_id)
    return Training(_exists_in_db=True, **locked[0])


async def move(round_row: Round, after: Phase) -> bool:
    """Compare-and-swap of a round's phase and the state that shows it; whether this call did it."""
    before = Phase(round_row.phase)
    require_transition(before, after)
    values: dict[Column | str, object] = {
        Round.phase: after.value,
        Round.announced: True,
        Round.deadline_at: None,
        Round.remaining_seconds: None,
        Round.extended: False,
    }
    if before == Phase.COLLECTING:
        values[Round.closed_at] = datetime.now(UTC)
    moved = (
        await Round.update(values)
        .where((Round.key == round_row.key) & (Round.phase == before.value))
        .returning(Round.id)
    )
    if moved and (before in MOMENT_PHASES) != (after in MOMENT_PHASES):
        state = TrainingState.SWAG_ROUND if after in MOMENT_PHASES else TrainingState.ONGOING
        await set_state(round_row.training, state)
    if moved:
        round_row.phase = after.value
        round_row.extended = False
    return bool(moved)


async def set_state(training_id: UUID, state: TrainingState, error: str | None = None) -> None:
    """Write the state that the contract shows."""
    await Training.update({Training.state: state.value, Training.error: error}).where(
        Training.id == training_id
    )


async def current_round(training: Training) -> Round:
    """The round of a running training."""
    row = await Round.objects().get(Round.key == training_key(training.id, training.round))
    if row is None:
        message = f"training {training.id} is running without round {training.round}"
        raise LookupError(message)
    return row


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
        raise not_a_participant(training_id)


def not_a_participant(training_id: UUID) -> NotAllowed:
    """What who does not take part is told."""
    return NotAllowed(f"You are not a participant of training {training_id}!")


def expected_of(round_row: Round, participants: Collection[UUID]) -> list[UUID]:
    """Who is waited for: of those who take part, all or the cohort, in order of registration."""
    cohort = cohort_of(round_row)
    return [user for user in participants if cohort is None or user in cohort]


async def drawn_of(round_row: Round) -> list[UUID] | None:
    """Who of the round's cohort takes part, in order of registration; None: everybody does."""
    if cohort_of(round_row) is None:
        return None
    return expected_of(round_row, await participants_of(round_row.training))


def cohort_of(round_row: Round) -> frozenset[UUID] | None:
    """Who was drawn for the round; None: everybody."""
    cohort: str | None = round_row.cohort  # Piccolo types a column as if it were never null
    return None if cohort is None else frozenset(msgspec.json.decode(cohort, type=list[UUID]))


def deadline_of(round_row: Round) -> datetime | None:
    """When the present phase ends, if it does by itself."""
    return round_row.deadline_at


def is_paused(training: Training) -> bool:
    """Whether participants are asked for nothing new."""
    paused_at: datetime | None = training.paused_at
    return paused_at is not None


async def delivered_by(round_row: Round) -> set[UUID]:
    """Who delivered what the round collects now: updates or, in a SWAG round, moments."""
    if round_row.phase in MOMENT_PHASES:
        rows = await LocalMoments.select(LocalMoments.owner).where(
            LocalMoments.round_key == round_row.key
        )
    else:
        rows = await LocalModel.select(LocalModel.owner).where(
            LocalModel.round_key == round_row.key
        )
    return {row["owner"] for row in rows}


async def surely_incomplete(round_row: Round) -> bool:
    """Whether fewer delivered than are waited for, by counting: of a thousand, most are not last.

    False decides nothing: who was removed after delivering counts as a delivery.
    """
    if cohort_of(round_row) is not None:
        return False
    deliveries = LocalMoments if round_row.phase in MOMENT_PHASES else LocalModel
    delivered = await deliveries.count().where(deliveries.round_key == round_row.key)
    waited_for = await Participant.count().where(Participant.training == round_row.training)
    return bool(delivered < waited_for)


async def moments_of(round_key: str) -> list[LocalMoments]:
    """Accepted moments of a round, in the order in which they are averaged."""
    return (
        await LocalMoments.objects()
        .where(LocalMoments.round_key == round_key)
        .order_by(LocalMoments.id)
    )


async def tested_by(model_id: UUID, step: int) -> set[UUID]:
    """Who reported metrics of the model as it was after `step` rounds."""
    rows = (
        await Metric.select(Metric.reporter)
        .where((Metric.model == model_id) & (Metric.step == step))
        .group_by(Metric.reporter)
    )
    return {row["reporter"] for row in rows}


async def base_key(model_id: UUID, index: int) -> str:
    """Blob of the global model that round `index` starts from."""
    version = await ModelVersion.objects().get(ModelVersion.key == training_key(model_id, index))
    if version is None:
        message = f"model {model_id} has no version of round {index}"
        raise LookupError(message)
    return str(version.digest)


async def add_version(model_id: UUID, index: int, digest: str, size_bytes: int) -> None:
    """Make these the weights of the model after round `index - 1`."""
    await ModelVersion.insert(
        ModelVersion(
            key=training_key(model_id, index),
            model=model_id,
            round=index,
            digest=digest,
            size_bytes=size_bytes,
        )
    )
    await GlobalModel.update(
        {
            GlobalModel.round: index,
            GlobalModel.digest: digest,
            GlobalModel.size_bytes: size_bytes,
        }
    ).where(GlobalModel.id == model_id)


async def forget_updates(training_id: UUID, through_round: int) -> list[str]:
    """Mark the weights of updates up to and of this round as deleted; their digests."""
    updates = (
        await LocalModel.update({LocalModel.kept: False})
        .where(
            (LocalModel.training == training_id)
            & (LocalModel.round <= through_round)
            # As the partial index has it: few are kept of the many there were.
            & WhereRaw("kept")
        )
        .returning(LocalModel.digest)
    )
    return [row["digest"] for row in updates]


async def forget_versions(model_id: UUID, before_round: int) -> tuple[list[int], list[str]]:
    """Mark the weights of versions before a round as deleted; their rounds and digests."""
    rows = (
        await ModelVersion.update({ModelVersion.kept: False})
        .where(
            (ModelVersion.model == model_id)
            & (ModelVersion.round < before_round)
            & ModelVersion.kept.eq(True)
        )
        .returning(ModelVersion.round, ModelVersion.digest)
    )
    return [row["round"] for row in rows], [row["digest"] for row in rows]


async def forget_moments(round_key: str) -> list[str]:
    """Mark the moments of a round as deleted; their digests."""
    rows = (
        await LocalMoments.update({LocalMoments.kept: False})
        .where(LocalMoments.round_key == round_key)
        .returning(LocalMoments.first_digest, LocalMoments.second_digest)
    )
    return [digest for row in rows for digest in (row["first_digest"], row["second_digest"])]


def options_of(training: Training) -> TrainingOptions:
    """The options with a meaning; they were checked when the training was created."""
    return parse_options(msgspec.json.decode(training.options, type=dict[str, object]))


def plan_of(training: Training) -> Plan:
    """The course of the training."""
    options = options_of(training)
    return Plan(
        rounds=training.target_num_updates,
        skip_model_tests=options.skip_model_tests,
        test_each_round=options.model_test_after_each_round,
        daisy_chain_period=(
            options.daisy_chain_period if training.aggregation_method == "FedDC" else 1
        ),
        swag=training.uncertainty_method == "SWAG",
        quorum=options.quorum,
    )


def strategy_of(training: Training) -> str:
    """How compute aggregates: on the server, daisy chaining does as FedAvg does."""
    method: str = training.aggregation_method
    return "FedAvg" if method == "FedDC" else method


def handed_on(round_row: Round) -> dict[UUID, UUID]:
    """Participant to the local model that they continue in this round."""
    return msgspec.json.decode(round_row.handed_on, type=dict[UUID, UUID])
