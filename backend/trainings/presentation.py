"""Trainings as they are shown, many of them in few queries."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec
from piccolo.query.functions.aggregate import Count

from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Participant,
    Round,
    Training,
    User,
    training_key,
)
from backend.rounds.records import deadline_of, expected_of, is_paused
from backend.trainings.schemas import TrainingJson, TrainingProgress


async def training_jsons(trainings: Sequence[Training]) -> list[TrainingJson]:
    """Trainings with their participants, in two queries."""
    participants: dict[UUID, list[UUID]] = {t.id: [] for t in trainings}
    if trainings:
        rows = (
            await Participant.select(Participant.training, Participant.user)
            .where(Participant.training.is_in([t.id for t in trainings]))
            .order_by(Participant.id)
        )
        for row in rows:
            participants[row["training"]].append(row["user"])
    return [
        TrainingJson(
            id=t.id,
            state=t.state,
            target_num_updates=t.target_num_updates,
            last_update=t.last_update,
            uncertainty_method=t.uncertainty_method,
            aggregation_method=t.aggregation_method,
            options=msgspec.json.decode(t.options, type=dict[str, object]),
            locked=False,
            model=t.model,
            actor=t.actor,
            participants=participants[t.id],
            error=t.error,
            paused=is_paused(t),
        )
        for t in trainings
    ]


async def progress_jsons(
    trainings: Sequence[Training], rounds: Mapping[UUID, Round]
) -> dict[UUID, TrainingProgress]:
    """Trainings with the progress of their rounds, by id, in the order given; in four queries.

    One that was deleted meanwhile is left out.

    Args:
        rounds: As `standing.current_rounds` gives them.
    """
    shown = await training_jsons(trainings)
    models = await GlobalModel.select(GlobalModel.id, GlobalModel.name, GlobalModel.round).where(
        GlobalModel.id.is_in([t.model for t in trainings])
    )
    model_of = {row["id"]: row for row in models}
    users = await User.select(User.id, User.username).where(
        User.id.is_in(list({t.actor for t in trainings}))
    )
    names = {row["id"]: row["username"] for row in users}
    arrived = await _arrived(
        [training_key(t.id, model_of[t.model]["round"]) for t in trainings if t.model in model_of]
    )
    found = {}
    for training, plain in zip(trainings, shown, strict=True):
        row, model = rounds.get(training.id), model_of.get(training.model)
        if model is None:
            continue
        expected = plain.participants if row is None else expected_of(row, plain.participants)
        found[training.id] = TrainingProgress(
            **msgspec.structs.asdict(plain),
            name=model["name"],
            actor_name=names.get(training.actor, ""),
            created_at=training.created_at,
            local_models_arrived=arrived.get(training_key(training.id, model["round"]), 0),
            local_models_expected=len(expected),
            round=training.round,
            phase=None if row is None else row.phase,
            deadline_at=None if row is None else deadline_of(row),
            metric_names=msgspec.json.decode(training.metric_names, type=list[str]),
        )
    return found


async def _arrived(round_keys: Sequence[str]) -> dict[str, int]:
    """How many updates each round has that has any."""
    rows = (
        await LocalModel.select(LocalModel.round_key, Count(alias="number"))
        .where(LocalModel.round_key.is_in(list(round_keys)))
        .group_by(LocalModel.round_key)
    )
    return {row["round_key"]: row["number"] for row in rows}
