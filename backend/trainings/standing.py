"""How the open rounds of trainings stand: who is waited for, who has delivered, and when."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from backend.db.conditions import any_of
from backend.db.tables import LocalModel, LocalMoments, Metric, Round, Training, training_key
from backend.rounds.records import expected_of
from backend.rounds.state import MOMENT_PHASES, RUNNING, WAITING_PHASES, Phase

_Delivered = dict[UUID, datetime]

# Phases that are not about updates.
_ELSEWHERE = MOMENT_PHASES | {Phase.TESTING}


class Standing(msgspec.Struct, frozen=True):
    """Of one open round, in its present phase.

    Attributes:
        expected: Who is waited for or has delivered, in order of registration.
        delivered: When what the phase is about was accepted, by whose it is.
        waits: Participants were asked, and what they send is taken.
    """

    expected: Sequence[UUID] = ()
    delivered: Mapping[UUID, datetime] = {}
    waits: bool = False

    @property
    def missing(self) -> list[UUID]:
        """Who is waited for, in order of registration."""
        if not self.waits:
            return []
        return [user for user in self.expected if user not in self.delivered]


async def current_rounds(trainings: Collection[Training]) -> dict[UUID, Round]:
    """The open or last round of each training that has one, without its figures."""
    keys = [training_key(training.id, training.round) for training in trainings]
    if not keys:
        return {}
    rows = await Round.select(
        Round.key,
        Round.training,
        Round.index,
        Round.phase,
        Round.cohort,
        Round.announced,
        Round.deadline_at,
    ).where(Round.key.is_in(keys))
    return {row["training"]: Round(**row) for row in rows}


async def standings(
    trainings: Collection[Training],
    rounds: Mapping[UUID, Round],
    participants: Mapping[UUID, Sequence[UUID]],
) -> dict[UUID, Standing]:
    """Of every training that runs, in at most three queries.

    Args:
        rounds: As `current_rounds` gives them.
        participants: Of each training, in order of registration.
    """
    running = {t.id: t for t in trainings if t.state in RUNNING and t.id in rounds}
    opened = [(training, rounds[training.id]) for training in running.values()]
    delivered = {
        **await _updates([r for _, r in opened if r.phase not in _ELSEWHERE]),
        **await _moments([r for _, r in opened if r.phase in MOMENT_PHASES]),
        **await _tests([(t, r) for t, r in opened if r.phase == Phase.TESTING]),
    }
    return {
        id: Standing(
            expected=expected_of(rounds[id], participants[id]),
            delivered=delivered.get(rounds[id].key, {}),
            waits=rounds[id].phase in WAITING_PHASES and rounds[id].announced,
        )
        for id in running
    }


async def _updates(rounds: Collection[Round]) -> dict[str, _Delivered]:
    if not rounds:
        return {}
    rows = await LocalModel.select(
        LocalModel.round_key, LocalModel.owner, LocalModel.received_at
    ).where(LocalModel.round_key.is_in([row.key for row in rounds]))
    return _by_round((row["round_key"], row["owner"], row["received_at"]) for row in rows)


async def _moments(rounds: Collection[Round]) -> dict[str, _Delivered]:
    if not rounds:
        return {}
    rows = await LocalMoments.select(
        LocalMoments.round_key, LocalMoments.owner, LocalMoments.received_at
    ).where(LocalMoments.round_key.is_in([row.key for row in rounds]))
    return _by_round((row["round_key"], row["owner"], row["received_at"]) for row in rows)


async def _tests(rounds: Collection[tuple[Training, Round]]) -> dict[str, _Delivered]:
    if not rounds:
        return {}
    key_of = {training.model: row.key for training, row in rounds}
    rows = (
        await Metric.select(Metric.model, Metric.reporter, Metric.created_at)
        .where(
            any_of(
                [
                    (Metric.model == training.model) & (Metric.step == row.index + 1)
                    for training, row in rounds
                ]
            )
        )
        .order_by(Metric.id)
    )
    return _by_round((key_of[row["model"]], row["reporter"], row["created_at"]) for row in rows)


def _by_round(deliveries: Iterable[tuple[str, UUID, datetime]]) -> dict[str, _Delivered]:
    """The first delivery of each participant, by the key of its round."""
    found: defaultdict[str, _Delivered] = defaultdict(dict)
    for key, owner, at in deliveries:
        found[key].setdefault(owner, at)
    return found
