"""What compute is to make of a closed collection, from rows alone: any order can be made again."""

from uuid import UUID

from backend.db.tables import LocalModel, Round, Training
from backend.rounds.records import base_key, current_round, moments_of
from backend.rounds.state import RUNNING, Phase
from compute.contract import FinishMoments, FinishRound, MomentsRef, UpdateRef

Order = FinishRound | FinishMoments


async def is_running(training_id: UUID) -> bool:
    """Whether there is such a training, and it goes on."""
    return await Training.exists().where(
        (Training.id == training_id) & Training.state.is_in(list(RUNNING))
    )


async def waiting_order(training_id: UUID) -> tuple[Training, Order] | None:
    """A training, and what its round waits to have made; None when it does not."""
    training = await Training.objects().get(Training.id == training_id)
    if training is None or training.state not in RUNNING:
        return None
    order = await order_of(training, await current_round(training))
    return None if order is None else (training, order)


async def order_of(training: Training, round_row: Round) -> Order | None:
    """What the round waits to have made; None when it does not."""
    match Phase(round_row.phase):
        case Phase.AGGREGATING:
            return await _finish_round(training, round_row)
        case Phase.AGGREGATING_MOMENTS:
            return await _finish_moments(training, round_row)
        case _:
            return None


async def _finish_round(training: Training, round_row: Round) -> FinishRound:
    updates = (
        await LocalModel.select(LocalModel.id, LocalModel.digest, LocalModel.sample_size)
        .where(LocalModel.round_key == round_row.key)
        .order_by(LocalModel.id)
    )
    return FinishRound(
        round=round_row.index,
        base_key=await base_key(training.model, round_row.index),
        updates=[
            UpdateRef(
                update_id=str(row["id"]), digest=row["digest"], sample_size=row["sample_size"]
            )
            for row in updates
        ],
    )


async def _finish_moments(training: Training, round_row: Round) -> FinishMoments:
    return FinishMoments(
        round=round_row.index,
        base_key=await base_key(training.model, round_row.index + 1),
        moments=[
            MomentsRef(
                moments_id=str(row.id),
                first_digest=row.first_digest,
                second_digest=row.second_digest,
                sample_size=row.sample_size,
            )
            for row in await moments_of(round_row.key)
        ],
    )
