"""What participants are told about rounds; written in the transaction of what happened."""

from collections.abc import Collection, Mapping
from uuid import UUID

from backend.db.tables import Round, Training
from backend.notifications.outbox import NotificationType, enqueue, enqueue_for_participants
from backend.rounds.effects import Effects
from backend.rounds.records import deadline_of, handed_on, options_of, participants_of
from backend.rounds.state import Phase


async def announce(
    training: Training, kind: NotificationType, recipients: Collection[UUID], effects: Effects
) -> None:
    """Tell of the training as a whole."""
    await enqueue(kind, recipients, training.id, {"global_model_uuid": training.model})
    effects.told = True


async def announce_phase(
    training: Training, round_row: Round, recipients: Collection[UUID] | None, effects: Effects
) -> None:
    """Say what is expected now; while compute aggregates, nothing is.

    Without recipients it is everybody who takes part.
    """
    match Phase(round_row.phase):
        case Phase.COLLECTING:
            await _announce_collection(training, round_row, recipients)
        case Phase.COLLECTING_MOMENTS:
            await _announce_model(
                training, NotificationType.SWAG_ROUND_START, round_row, recipients
            )
        case Phase.TESTING:
            await _announce_model(
                training, NotificationType.MODEL_TEST_ROUND, round_row, recipients
            )
        case Phase.AGGREGATING | Phase.AGGREGATING_MOMENTS | Phase.CLOSED:
            return
    effects.told = True


async def _announce_collection(
    training: Training, round_row: Round, recipients: Collection[UUID] | None
) -> None:
    """Each is told the model to start from and upload to: in daisy chaining, one of their own."""
    body = {"round": round_row.index, "global_model_uuid": training.model, **_deadline(round_row)}
    if training.aggregation_method == "FedProx":
        body["mu"] = options_of(training).mu
    handed = handed_on(round_row)
    start = NotificationType.UPDATE_ROUND_START
    if not handed:
        await _tell(start, recipients, training.id, body)
        return
    if recipients is None:
        recipients = await participants_of(training.id)
    await enqueue(start, [r for r in recipients if r not in handed], training.id, body)
    for recipient in recipients:
        if recipient in handed:
            own_body = {**body, "global_model_uuid": handed[recipient]}
            await enqueue(start, [recipient], training.id, own_body)


async def _announce_model(
    training: Training,
    kind: NotificationType,
    round_row: Round,
    recipients: Collection[UUID] | None,
) -> None:
    """The aggregated model is the one after the round, so its number is one higher."""
    body = {
        "round": round_row.index + 1,
        "global_model_uuid": training.model,
        **_deadline(round_row),
    }
    await _tell(kind, recipients, training.id, body)


async def _tell(
    kind: NotificationType,
    recipients: Collection[UUID] | None,
    training_id: UUID,
    body: Mapping[str, object],
) -> None:
    if recipients is None:
        await enqueue_for_participants(kind, training_id, body)
    else:
        await enqueue(kind, recipients, training_id, body)


def _deadline(round_row: Round) -> dict[str, object]:
    deadline = deadline_of(round_row)
    return {} if deadline is None else {"deadline": deadline}
