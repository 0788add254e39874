"""The trainings of one user at a glance, in a number of queries that does not grow with them."""

from collections.abc import Collection
from uuid import UUID

import msgspec
from piccolo.custom_types import Combinable
from piccolo.querystring import QueryString

from backend.db.tables import Participant, Training, User
from backend.metrics.series import Point, main_means
from backend.security.caller import Caller
from backend.trainings.presentation import progress_jsons
from backend.trainings.schemas import MainMetric, Overview, TrainingOverview
from backend.trainings.standing import Standing, current_rounds, standings

MAX_NAMES = 20
METRIC_ROUNDS = 100
# A training that has waited for weeks is still one that somebody waits for.
_RUNNING_FIRST = "CASE WHEN state IN ('O', 'S') THEN 0 ELSE 1 END"


def is_party(caller: Caller) -> Combinable:
    """Condition of trainings that the caller runs or takes part in."""
    joined = Participant.select(Participant.training).where(Participant.user == caller.id)
    return (Training.actor == caller.id) | Training.id.is_in(joined)


async def overview_of(caller: Caller, *, limit: int) -> Overview:
    """The caller's trainings, those that run first, then the most recently active.

    Constraints: runs in a read snapshot: all of it MUST be of one moment.
    """
    total = await Training.count().where(is_party(caller))
    trainings = (
        await Training.objects()
        .where(is_party(caller))
        .order_by(QueryString(_RUNNING_FIRST))
        .order_by(Training.last_update, ascending=False)
        .limit(limit)
    )
    if not trainings:
        return Overview(trainings=[], total=total)
    rounds = await current_rounds(trainings)
    progress = await progress_jsons(trainings, rounds)
    standing = await standings(
        trainings, rounds, {id: shown.participants for id, shown in progress.items()}
    )
    missing = {
        id: _missing(standing.get(id, Standing()), shown.actor, caller)
        for id, shown in progress.items()
    }
    names = await _usernames({user for users in missing.values() for user in users[:MAX_NAMES]})
    metrics = await main_means(
        {id: shown.metric_names for id, shown in progress.items()}, caller, rounds=METRIC_ROUNDS
    )
    return Overview(
        total=total,
        trainings=[
            TrainingOverview(
                **msgspec.structs.asdict(shown),
                role="actor" if shown.actor == caller.id else "participant",
                main_metric=_main_metric(metrics.get(id)),
                missing=[names[user] for user in missing[id][:MAX_NAMES]],
                missing_count=len(missing[id]),
            )
            for id, shown in progress.items()
        ],
    )


def _missing(standing: Standing, actor: UUID, caller: Caller) -> list[UUID]:
    """Who is waited for, as far as the caller may know."""
    if actor == caller.id:
        return standing.missing
    return [user for user in standing.missing if user == caller.id]


def _main_metric(found: tuple[str, list[Point]] | None) -> MainMetric | None:
    if found is None:
        return None
    key, points = found
    return MainMetric(key=key, points=points)


async def _usernames(users: Collection[UUID]) -> dict[UUID, str]:
    if not users:
        return {}
    rows = await User.select(User.id, User.username).where(User.id.is_in(list(users)))
    return {row["id"]: row["username"] for row in rows}
