"""What participants deliver in a round, and whether a round takes it."""

from uuid import UUID, uuid4

import msgspec

from backend.audit.events import AuditKind, record
from backend.db.bulk import insert_all
from backend.db.tables import LocalModel, LocalMoments, Metric, Round, Training, training_key
from backend.errors import Conflict, LateUpdate, WrongState
from backend.metrics.values import MetricValue, metric_rows
from backend.rounds import records
from backend.rounds.state import RUNNING, Phase, TrainingState
from compute.blobs import Staged


class NewUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """An update on its way in."""

    training_id: UUID
    owner: UUID
    round: int
    sample_size: int
    upload: Staged
    metrics: list[MetricValue]

    @property
    def key(self) -> str:
        """Of its row: a participant has one update per round."""
        return training_key(self.training_id, self.round, self.owner)


class NewMoments(msgspec.Struct, frozen=True, kw_only=True):
    """SWAG moments on their way in; `round` is the model's, one above the round's index."""

    training_id: UUID
    owner: UUID
    round: int
    sample_size: int
    first: Staged
    second: Staged

    @property
    def key(self) -> str:
        """Of its row: a participant has one pair of moments per round."""
        return training_key(self.training_id, self.round, self.owner)


async def is_repeated_update(update: NewUpdate) -> bool:
    """Whether exactly this update was accepted before. Raises `Conflict` for another one."""
    accepted = await LocalModel.objects().get(LocalModel.key == update.key)
    if accepted is None:
        return False
    if (accepted.digest, accepted.sample_size) != (update.upload.digest, update.sample_size):
        raise Conflict(
            f"You delivered another update for round {update.round} of training "
            f"{update.training_id} already."
        )
    return True


async def are_repeated_moments(moments: NewMoments) -> bool:
    """Whether exactly these moments were accepted before. Raises `Conflict` for others."""
    row = await LocalMoments.objects().get(LocalMoments.key == moments.key)
    if row is None:
        return False
    accepted = (row.first_digest, row.second_digest, row.sample_size)
    if accepted != (moments.first.digest, moments.second.digest, moments.sample_size):
        raise Conflict(
            f"You delivered other moments for round {moments.round} of training "
            f"{moments.training_id} already."
        )
    return True


async def collecting_round(training: Training, index: int, owner: UUID) -> Round:
    """The round, if it takes an update of `owner` now.

    Raises:
        LateUpdate: it took updates before.
        WrongState: it never did, or the training is not running.
        Conflict: the owner was not drawn for it.
    """
    if training.state not in RUNNING:
        raise WrongState(f"Training with ID {training.id} is in state {training.state}")
    if index > training.round:
        raise WrongState(
            f"Training with ID {training.id} is not currently in round {index}, but in round "
            f"{training.round}."
        )
    row = await records.current_round(training)
    if index < training.round or row.phase != Phase.COLLECTING:
        raise LateUpdate(
            f"Round {index} of training {training.id} takes no updates any more; the training is "
            f"in round {training.round} ({row.phase}).",
            round=training.round,
            phase=row.phase,
        )
    _require_drawn(row, owner)
    return row


async def collecting_moments_round(training: Training, model_round: int, owner: UUID) -> Round:
    """The round, if it takes SWAG moments of `owner` now. Raises as `collecting_round`."""
    if training.state not in RUNNING:
        raise WrongState(f"Training with ID {training.id} is in state {training.state}")
    row = await records.current_round(training)
    open_now = row.index + 1
    if row.phase == Phase.COLLECTING_MOMENTS and model_round == open_now:
        _require_drawn(row, owner)
        return row
    was_open = row.phase in (Phase.AGGREGATING_MOMENTS, Phase.TESTING) and model_round == open_now
    if records.plan_of(training).swag and (was_open or 0 < model_round < open_now):
        raise LateUpdate(
            f"The SWAG round of model round {model_round} of training {training.id} takes no "
            f"moments any more; the training is in round {training.round} ({row.phase}).",
            round=training.round,
            phase=row.phase,
        )
    if training.state == TrainingState.SWAG_ROUND:
        raise WrongState(
            f"Training with ID {training.id} is not currently in round {model_round}, but in "
            f"round {open_now}."
        )
    raise WrongState(f"Training with ID {training.id} is in state {training.state}")


async def insert_update(update: NewUpdate, training: Training, round_row: Round) -> LocalModel:
    """Write a checked update with its metrics; runs in the coordinator's transaction."""
    row = LocalModel(
        id=uuid4(),
        key=update.key,
        round_key=round_row.key,
        training=training.id,
        base_model=training.model,
        round=update.round,
        owner=update.owner,
        digest=update.upload.digest,
        size_bytes=update.upload.size_bytes,
        sample_size=update.sample_size,
    )
    await LocalModel.insert(row)
    await insert_all(Metric, metric_rows(row.id, update.owner, update.round, update.metrics))
    await record(
        AuditKind.UPDATE_ACCEPTED,
        training.id,
        who=update.owner,
        round=round_row.index,
        update=row.id,
        digest=row.digest,
        sample_size=row.sample_size,
    )
    return row


async def insert_moments(moments: NewMoments, training: Training, round_row: Round) -> None:
    """Write checked moments; runs in the coordinator's transaction."""
    row = LocalMoments(
        id=uuid4(),
        key=moments.key,
        round_key=round_row.key,
        training=training.id,
        owner=moments.owner,
        first_digest=moments.first.digest,
        second_digest=moments.second.digest,
        sample_size=moments.sample_size,
    )
    await LocalMoments.insert(row)
    await record(
        AuditKind.MOMENTS_ACCEPTED,
        training.id,
        who=moments.owner,
        round=round_row.index,
        moments=row.id,
        first_digest=row.first_digest,
        second_digest=row.second_digest,
        sample_size=row.sample_size,
    )


def _require_drawn(round_row: Round, owner: UUID) -> None:
    cohort = records.cohort_of(round_row)
    if cohort is not None and owner not in cohort:
        raise Conflict(
            f"You were not drawn for round {round_row.index}; wait to be notified of a later one."
        )
