"""Reads a training's audit log from its beginning, and compares it with itself and the tables.

Memory holds one page of events and one round's deliveries at a time, however long the log is.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import msgspec
from piccolo.columns.base import Column

from backend.audit.details import (
    AveragedMoments,
    Created,
    FoldedUpdate,
    GivenUp,
    MomentsAccepted,
    MomentsAggregated,
    RoundAggregated,
    RoundOpened,
    UpdateAccepted,
    UpdateDeleted,
    Users,
)
from backend.audit.events import NO_DIGEST, AuditKind, event_digest, shown_time
from backend.audit.findings import Check, Findings
from backend.db.tables import (
    AuditEvent,
    GlobalModel,
    LocalModel,
    LocalMoments,
    ModelVersion,
    Participant,
    Training,
    training_key,
)
from backend.rounds.state import TrainingState

EVENTS_PER_PAGE = 100

_STATES = {
    AuditKind.TRAINING_CREATED: TrainingState.INITIAL,
    AuditKind.TRAINING_STARTED: TrainingState.ONGOING,
    AuditKind.TRAINING_COMPLETED: TrainingState.COMPLETED,
    AuditKind.TRAINING_FAILED: TrainingState.ERROR,
    AuditKind.TRAINING_ABORTED: TrainingState.ERROR,
}

DetailsT = TypeVar("DetailsT")
DeliveryT = TypeVar("DeliveryT", FoldedUpdate, AveragedMoments)


@dataclass
class LoggedRound:
    """What the log says about a round.

    Attributes:
        aggregated: Id of its `round_aggregated` event.
        averaged: Id of its `moments_aggregated` event.
        given_up: Why the training ended in it.
    """

    index: int
    base_digest: str
    aggregated: int | None = None
    averaged: int | None = None
    handed_on: bool = False
    given_up: str | None = None


@dataclass
class _Deliveries:
    """Of one round, until they are compared with the tables."""

    updates: dict[UUID, FoldedUpdate] = field(default_factory=dict)
    moments: dict[UUID, AveragedMoments] = field(default_factory=dict)


class LogCheck:
    """The chain, and what the log and the tables say about the same things.

    Attributes:
        rounds: Those in the log, in its order, once `run` has ended.
        model_id: The trained model; None when the log does not say.
        is_deleted: Whether the training was deleted, so that there is nothing but the log.
    """

    def __init__(self, training_id: UUID, findings: Findings) -> None:
        self._id = training_id
        self._findings = findings
        self.rounds: dict[int, LoggedRound] = {}
        self.events = 0
        self.last_digest = NO_DIGEST
        self.model_id: UUID | None = None
        self.is_deleted = False
        self._unbroken = True
        self._open: int | None = None
        self._deliveries = _Deliveries()
        self._num_updates = 0
        self._num_moments = 0
        self._unseen: dict[UUID, int | None] = {}
        self._deleted: set[UUID] = set()
        self._ends_deleted = False
        self._versions: dict[int, tuple[str, int | None]] = {}
        self._participants: set[UUID] = set()
        self._state: TrainingState | None = None

    async def run(self) -> None:
        """Check everything.

        Constraints: runs inside a read snapshot, so that a running server changes nothing.
        """
        training = await Training.objects().get(Training.id == self._id)
        async for event in _events(self._id):
            self._follow(event)
            try:
                await self._take(event)
            except ValueError as error:
                self._differs(Check.LOG, f"{_name(event)} cannot be understood: {error}.")
        await self._compare_deliveries()
        self.is_deleted = training is None
        if training is None:
            if not self._ends_deleted:
                self._differs(Check.TRAINING, "The training is gone, and the log does not say so.")
        else:
            await self._compare_rounds()
            await self._compare_versions(training)
            await self._compare_training(training)
        self._conclude()

    def _follow(self, event: AuditEvent) -> None:
        """Compare the event's digest with what it is chained to; the first misfit is named."""
        digest = event_digest(
            self.last_digest,
            training_id=self._id,
            at=event.at,
            kind=event.kind,
            who=event.who,
            round=event.round,
            details=event.details,
        )
        if self._unbroken and digest != event.digest:
            self._unbroken = False
            self._differs(
                Check.LOG,
                f"{_name(event)} does not fit to what is before it: it was changed or moved, or "
                "something before it was removed. What comes after it is not proven either.",
                event.round,
            )
        if not self.events and event.kind != AuditKind.TRAINING_CREATED:
            self._differs(
                Check.LOG,
                f"The log begins with {event.kind}: its beginning was removed, or the training is "
                "older than the log.",
            )
        self.events += 1
        self.last_digest = event.digest

    async def _take(self, event: AuditEvent) -> None:
        """Remember, or compare at once, what the event says."""
        self._state = _STATES.get(AuditKind(event.kind), self._state)
        match event.kind:
            case AuditKind.TRAINING_CREATED:
                created = _details(event, Created)
                self.model_id = created.model
                self._versions[0] = (created.model_digest, None)
                self._participants.update(created.participants)
            case AuditKind.PARTICIPANTS_REGISTERED:
                self._participants.update(_details(event, Users).users)
            case AuditKind.PARTICIPANTS_REMOVED:
                self._participants.difference_update(_details(event, Users).users)
            case AuditKind.TRAINING_DELETED:
                self._ends_deleted = True
            case AuditKind.ROUND_OPENED:
                await self._compare_deliveries()
                base_digest = _details(event, RoundOpened).base_digest
                self._open = event.round
                self.rounds[event.round] = LoggedRound(event.round, base_digest)
                self._compare_base(event, base_digest, event.round)
            case AuditKind.UPDATE_ACCEPTED:
                update = _details(event, UpdateAccepted)
                self._num_updates += 1
                self._deliveries.updates[update.update] = _owned(update, FoldedUpdate, event)
                self._compare_open(event)
            case AuditKind.MOMENTS_ACCEPTED:
                moments = _details(event, MomentsAccepted)
                self._num_moments += 1
                self._deliveries.moments[moments.moments] = _owned(moments, AveragedMoments, event)
                self._compare_open(event)
            case AuditKind.UPDATE_DELETED:
                self._deleted.add(_details(event, UpdateDeleted).update)
            case AuditKind.ROUND_HANDED_ON:
                logged = self._round(event)
                logged.handed_on = True
                self._versions[logged.index + 1] = (logged.base_digest, None)
            case AuditKind.TRAINING_FAILED | AuditKind.TRAINING_ABORTED:
                self._round(event).given_up = _details(event, GivenUp).reason
            case AuditKind.ROUND_AGGREGATED:
                self._take_aggregation(event, _details(event, RoundAggregated))
            case AuditKind.MOMENTS_AGGREGATED:
                self._take_averages(event, _details(event, MomentsAggregated))

    def _take_aggregation(self, event: AuditEvent, details: RoundAggregated) -> None:
        logged = self._round(event)
        logged.aggregated = event.id
        self._compare_base(event, details.base_digest, logged.index)
        self._versions[logged.index + 1] = (details.digest, details.size_bytes)
        listed = {update.update: update for update in details.updates}
        self._compare_listed(event, listed, len(details.updates), self._deliveries.updates)

    def _take_averages(self, event: AuditEvent, details: MomentsAggregated) -> None:
        logged = self._round(event)
        logged.averaged = event.id
        self._compare_base(event, details.base_digest, logged.index + 1)
        listed = {moments.moments: moments for moments in details.moments}
        self._compare_listed(event, listed, len(details.moments), self._deliveries.moments)

    def _round(self, event: AuditEvent) -> LoggedRound:
        self._compare_open(event)
        return self.rounds.setdefault(event.round, LoggedRound(event.round, ""))

    def _compare_open(self, event: AuditEvent) -> None:
        if event.round != self._open:
            self._differs(
                Check.LOG, f"{_name(event)} is about a round that is not open then.", event.round
            )

    def _compare_base(self, event: AuditEvent, base_digest: str, version: int) -> None:
        expected = self._versions.get(version)
        if expected is None or expected[0] != base_digest:
            self._differs(
                Check.VERSIONS,
                f"{_name(event)} starts from {base_digest}, but the log has "
                f"{'no version' if expected is None else expected[0]} of round {version}.",
                event.round,
            )

    def _compare_listed(
        self,
        event: AuditEvent,
        listed: Mapping[UUID, DeliveryT],
        length: int,
        accepted: Mapping[UUID, DeliveryT],
    ) -> None:
        """Make sure that each accepted delivery was counted exactly once, as it was accepted."""
        if len(listed) != length:
            self._differs(Check.UPDATES, f"{_name(event)} counts something twice.", event.round)
        for key in [*accepted, *(key for key in listed if key not in accepted)]:
            if accepted.get(key) != listed.get(key):
                what = (
                    "leaves out"
                    if key not in listed
                    else "counts, without its having been accepted,"
                    if key not in accepted
                    else "counts otherwise than it was accepted"
                )
                self._differs(Check.UPDATES, f"{_name(event)} {what} {key}.", event.round)

    async def _compare_deliveries(self) -> None:
        """Compare those of the round that ends here with their rows."""
        deliveries, self._deliveries = self._deliveries, _Deliveries()
        if self._open is None or not await Training.exists().where(Training.id == self._id):
            return
        key = training_key(self._id, self._open)
        updates = await LocalModel.objects().where(LocalModel.round_key == key)
        moments = await LocalMoments.objects().where(LocalMoments.round_key == key)
        self._compare_rows(
            "Update",
            deliveries.updates,
            {
                row.id: FoldedUpdate(
                    update=row.id, digest=row.digest, sample_size=row.sample_size, owner=row.owner
                )
                for row in updates
            },
        )
        self._compare_rows(
            "Moments",
            deliveries.moments,
            {
                row.id: AveragedMoments(
                    moments=row.id,
                    first_digest=row.first_digest,
                    second_digest=row.second_digest,
                    sample_size=row.sample_size,
                    owner=row.owner,
                )
                for row in moments
            },
        )

    def _compare_rows(
        self, noun: str, logged: Mapping[UUID, DeliveryT], rows: Mapping[UUID, DeliveryT]
    ) -> None:
        index = self._open
        for key, row in rows.items():
            entry = logged.get(key)
            if entry is None:
                self._differs(
                    Check.UPDATES, f"{noun} {key} is in the database and not in the log.", index
                )
            elif entry != row:
                fields = (f.name for f in msgspec.structs.fields(row))
                name = next(n for n in fields if getattr(row, n) != getattr(entry, n))
                self._differs(
                    Check.UPDATES,
                    f"{noun} {key}: {name} is {getattr(row, name)} in the database and "
                    f"{getattr(entry, name)} in the log.",
                    index,
                )
        # An event further on may say that it was deleted.
        self._unseen |= dict.fromkeys((key for key in logged if key not in rows), index)

    async def _compare_rounds(self) -> None:
        for key, index in self._unseen.items():
            if key not in self._deleted:
                self._differs(
                    Check.UPDATES, f"{key} was accepted and is not in the database.", index
                )
        logged = {training_key(self._id, index) for index in self.rounds}
        for table in (LocalModel, LocalMoments):
            column: Column = table.round_key
            rows = await table.select(column).where(table.training == self._id).group_by(column)
            for row in rows:
                if row["round_key"] not in logged:
                    index_given = row["round_key"].rpartition(":")[2]
                    self._differs(
                        Check.UPDATES,
                        f"The database has deliveries for round {index_given}, which is not in the "
                        "log.",
                    )

    async def _compare_versions(self, training: Training) -> None:
        rows = (
            await ModelVersion.objects()
            .where(ModelVersion.model == training.model)
            .order_by(ModelVersion.round)
        )
        stored = {row.round: row for row in rows}
        for index in sorted({*stored, *self._versions}):
            row, logged = stored.get(index), self._versions.get(index)
            if row is None or logged is None:
                where = (
                    "log and not in the database" if row is None else "database and not in the log"
                )
                self._differs(Check.VERSIONS, f"Version {index} is in the {where}.")
            elif row.digest != logged[0]:
                self._differs(
                    Check.VERSIONS,
                    f"Version {index} is {row.digest} in the database and {logged[0]} in the log.",
                )
            elif logged[1] not in {None, row.size_bytes}:
                self._differs(
                    Check.VERSIONS,
                    f"Version {index} has {row.size_bytes} bytes in the database and {logged[1]} "
                    "in the log.",
                )
        model = await GlobalModel.objects().get(GlobalModel.id == training.model)
        newest = stored.get(max(stored, default=0))
        if model is None or newest is None or model.digest != newest.digest:
            self._differs(Check.VERSIONS, "The model is not what its newest version is.")

    async def _compare_training(self, training: Training) -> None:
        if self.model_id is not None and training.model != self.model_id:
            self._differs(
                Check.TRAINING, f"It trains {training.model}; the log says {self.model_id}."
            )
        if self._ends_deleted:
            self._differs(Check.TRAINING, "It is there, although the log says it was deleted.")
        running = {TrainingState.ONGOING, TrainingState.SWAG_ROUND}
        state = TrainingState(training.state)
        if state != self._state and not (state in running and self._state in running):
            self._differs(
                Check.TRAINING,
                f"Its state is {training.state} in the database and {self._state} by the log.",
            )
        rows = await Participant.select(Participant.user).where(Participant.training == self._id)
        for user in sorted({row["user"] for row in rows} ^ self._participants):
            where = "log" if user in self._participants else "database"
            self._differs(Check.TRAINING, f"{user} takes part by the {where} only.")

    def _conclude(self) -> None:
        count = self._findings.concludes
        count(Check.LOG, f"{self.events} events, each chained to the one before.")
        if self.is_deleted:
            count(Check.TRAINING, "The training was deleted; there is nothing left but its log.")
            return
        count(Check.TRAINING, "State and participants are what the log says.")
        count(
            Check.UPDATES,
            f"{self._num_updates} updates and {self._num_moments} pairs of moments, in the "
            "database as in the log.",
        )
        count(Check.VERSIONS, f"{len(self._versions)} versions, in the database as in the log.")

    def _differs(self, check: Check, detail: str, index: int | None = None) -> None:
        self._findings.differs(check, detail, round=index)


async def _events(training_id: UUID) -> AsyncIterator[AuditEvent]:
    after = 0
    while True:
        page = (
            await AuditEvent.objects()
            .where((AuditEvent.training == training_id) & (AuditEvent.id > after))
            .order_by(AuditEvent.id)
            .limit(EVENTS_PER_PAGE)
        )
        for event in page:
            yield event
        if len(page) < EVENTS_PER_PAGE:
            return
        after = page[-1].id


def _name(event: AuditEvent) -> str:
    return f"Event {event.id} ({event.kind}, {shown_time(event.at)})"


def _details(event: AuditEvent, type: type[DetailsT]) -> DetailsT:
    return msgspec.json.decode(event.details, type=type)


def _owned(
    accepted: UpdateAccepted | MomentsAccepted, type: type[DeliveryT], event: AuditEvent
) -> DeliveryT:
    """The delivery with its owner, as the event of its aggregation lists it."""
    return msgspec.convert({**msgspec.structs.asdict(accepted), "owner": event.who}, type)
