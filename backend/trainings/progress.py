"""How a training stands: its participants, its rounds."""

from collections import defaultdict
from datetime import datetime
from uuid import UUID

import msgspec
from piccolo.query.functions.aggregate import Count

from backend.db.tables import LocalModel, Participant, Round, Training
from backend.notifications.delivery import unreachable
from backend.rounds.records import cohort_of
from backend.security.presence import Presence
from backend.trainings.schemas import ParticipantJson, RoundJson, RoundUpdateJson
from backend.trainings.standing import Standing, current_rounds, standings
from compute.contract import RoundFigures


async def board(training: Training, only: UUID | None, presence: Presence) -> list[ParticipantJson]:
    """Participants in order of registration, or one of them."""
    query = Participant.select(
        Participant.user,
        Participant.registered_at,
        Participant.user.username.as_alias("username"),
        Participant.user.last_seen_at.as_alias("last_seen_at"),
    ).where(Participant.training == training.id)
    if only is not None:
        query = query.where(Participant.user == only)
    rows = await query.order_by(Participant.id)
    unreached = await unreachable([row["user"] for row in rows])
    rounds = await current_rounds([training])
    # Whether one is expected does not depend on who else is looked at.
    found = await standings([training], rounds, {training.id: [row["user"] for row in rows]})
    standing = found.get(training.id, Standing())
    expected = set(standing.expected)
    return [
        ParticipantJson(
            id=row["user"],
            username=row["username"],
            registered_at=row["registered_at"],
            expected=row["user"] in expected,
            delivered=row["user"] in standing.delivered,
            delivered_at=standing.delivered.get(row["user"]),
            unreachable=unreached.get(row["user"]),
            last_seen_at=_later(
                presence.last_seen(row["user"], row["last_seen_at"]),
                standing.delivered.get(row["user"]),
            ),
        )
        for row in rows
    ]


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(filter(None, (one, other)), default=None)


async def course(training: Training, only: UUID | None, *, since: int) -> list[RoundJson]:
    """Rounds from `since` on, in order; what is said about updates, of all or of one participant.

    Args:
        only: Whose updates are listed; the figures compare all of them, and are left out then.
    """
    rows = (
        await Round.objects()
        .where((Round.training == training.id) & (Round.index >= since))
        .order_by(Round.index)
    )
    of_rounds = (LocalModel.training == training.id) & (LocalModel.round >= since)
    counts = (
        await LocalModel.select(LocalModel.round, Count(alias="number"))
        .where(of_rounds)
        .group_by(LocalModel.round)
    )
    delivered = {count["round"]: count["number"] for count in counts}
    listed = of_rounds if only is None else of_rounds & (LocalModel.owner == only)
    updates: defaultdict[int, list[RoundUpdateJson]] = defaultdict(list)
    for update in (
        await LocalModel.select(
            LocalModel.id,
            LocalModel.round,
            LocalModel.owner,
            LocalModel.sample_size,
            LocalModel.received_at,
        )
        .where(listed)
        .order_by(LocalModel.received_at)
    ):
        updates[update.pop("round")].append(RoundUpdateJson(**update))
    return [
        _round_json(row, delivered.get(row.index, 0), updates[row.index], figures=only is None)
        for row in rows
    ]


def _round_json(
    row: Round, delivered: int, updates: list[RoundUpdateJson], *, figures: bool
) -> RoundJson:
    cohort = cohort_of(row)
    return RoundJson(
        index=row.index,
        phase=row.phase,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        aggregated_at=row.aggregated_at,
        deadline_at=row.deadline_at,
        extended=row.extended,
        cohort=None if cohort is None else sorted(cohort),
        delivered=delivered,
        updates=updates,
        figures=(
            msgspec.json.decode(row.figures, type=RoundFigures) if figures and row.figures else None
        ),
    )
