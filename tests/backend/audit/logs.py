"""Logs of a test's own, written as the server writes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from backend.audit.events import AuditKind, record
from backend.db.engine import Database
from backend.db.tables import GlobalModel, Training, User
from backend.rounds.records import guard


async def new_trainings(database: Database, count: int) -> list[UUID]:
    """Ids of trainings without events."""
    ids = [uuid4() for _ in range(count)]
    user = User(id=uuid4(), username=uuid4().hex, password_hash="", token_hash=uuid4().hex)
    async with database.write_transaction():
        await User.insert(user)
        for training_id in ids:
            model = GlobalModel(
                id=uuid4(),
                kind="GLOBAL",
                owner=user.id,
                name="m",
                format="torchscript",
                digest="0",
                size_bytes=0,
                num_parameters=0,
            )
            await GlobalModel.insert(model)
            await Training.insert(
                Training(
                    id=training_id,
                    actor=user.id,
                    model=model.id,
                    target_num_updates=1,
                    aggregation_method="FedAvg",
                    uncertainty_method="NONE",
                )
            )
    return ids


@asynccontextmanager
async def decision(database: Database, training_id: UUID) -> AsyncIterator[None]:
    """A transaction that holds the training's row, as every one that writes to its log does."""
    async with database.write_transaction():
        await guard(training_id)
        yield


async def happen(
    database: Database,
    training_id: UUID,
    kind: AuditKind = AuditKind.ROUND_OPENED,
    *,
    who: UUID | None = None,
    times: int = 1,
    **details: object,
) -> None:
    """Events of rounds 0, 1, … in one transaction."""
    async with decision(database, training_id):
        for number in range(times):
            await record(kind, training_id, who=who, round=number, **details)
