"""Trainings that have happened: rows, log and blobs, made without a server."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import torch
from click.testing import CliRunner

from backend.audit.events import NO_DIGEST, AuditKind, event_digest, record
from backend.cli import cli
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    LocalMoments,
    ModelVersion,
    Participant,
    Round,
    Training,
    User,
    training_key,
)
from compute.aggregator import Aggregator
from compute.blobs import BlobStore, open_blob_store
from compute.contract import (
    AggregatorSpec,
    CallbackTarget,
    FinishMoments,
    FinishRound,
    MomentsAggregated,
    MomentsRef,
    RoundAggregated,
    UpdateRef,
)
from tests.model_files import drifted, pickled, tiny

ROUNDS = 2
PARTICIPANTS = 2


@dataclass(frozen=True)
class History:
    """A completed training in a data directory that no server uses."""

    data_dir: Path
    training_id: UUID
    model_id: UUID

    @property
    def blobs(self) -> BlobStore:
        """Its blob store."""
        return open_blob_store((self.data_dir / "blobs").as_uri())

    def blob_path(self, digest: str) -> Path:
        """The file of a blob."""
        return self.data_dir / "blobs" / "blobs" / digest[:2] / digest

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The database, for who tampers with it."""
        connection = sqlite3.connect(self.data_dir / "starling.sqlite")
        try:
            yield connection
            connection.commit()
        finally:
            connection.close()

    def verify(self, training_id: UUID | None = None) -> tuple[int, list[dict[str, object]]]:
        """Exit code and lines of `starling verify --json`."""
        result = CliRunner().invoke(
            cli,
            ["verify", str(training_id or self.training_id), "--json"],
            env={"STARLING_DATA_DIR": str(self.data_dir)},
        )
        return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]

    def rewrite_chain(self) -> None:
        """What a dishonest operator of the database does after a change."""
        with self.database() as connection:
            previous = NO_DIGEST
            rows = connection.execute("SELECT * FROM audit_event ORDER BY id")
            names = [column[0] for column in rows.description]
            for values in rows.fetchall():
                row = dict(zip(names, values, strict=True))
                previous = event_digest(
                    previous,
                    training_id=self.training_id,
                    at=_time(row["at"]),
                    kind=row["kind"],
                    who=None if row["who"] is None else UUID(row["who"]),
                    round=row["round"],
                    details=row["details"],
                )
                connection.execute(
                    "UPDATE audit_event SET digest = ? WHERE id = ?", (previous, row["id"])
                )


def new_history(data_dir: Path) -> History:
    """Two rounds of two participants and their moments, completed; everything is kept."""
    data_dir.mkdir()
    return asyncio.run(_happen(data_dir))


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored).replace(tzinfo=UTC)


async def _happen(data_dir: Path) -> History:
    database = Database(f"sqlite:///{data_dir / 'starling.sqlite'}")
    await database.open()
    await migrate()
    store = open_blob_store((data_dir / "blobs").as_uri())
    async with database.write_transaction():
        return await _train(data_dir, store)


async def _train(data_dir: Path, store: BlobStore) -> History:
    users = [uuid4() for _ in range(PARTICIPANTS + 1)]
    for number, user in enumerate(users):
        await User.insert(
            User(id=user, username=f"u{number}", password_hash="-", token_hash=str(number))
        )
    actor, *participants = users
    model_id, training_id = uuid4(), uuid4()
    base = store.put([pickled(tiny())])
    await GlobalModel.insert(
        GlobalModel(
            id=model_id,
            kind="SWAG",
            owner=actor,
            name="m",
            format="pickled_module",
            digest=base.digest,
            size_bytes=base.size_bytes,
            num_parameters=66,
        )
    )
    await _add_version(model_id, 0, base.digest, base.size_bytes)
    await Training.insert(
        Training(
            id=training_id,
            actor=actor,
            model=model_id,
            state="C",
            round=ROUNDS - 1,
            target_num_updates=ROUNDS,
            aggregation_method="FedAvg",
            uncertainty_method="SWAG",
        )
    )
    for user in participants:
        key = training_key(training_id, user)
        await Participant.insert(Participant(key=key, training=training_id, user=user))
    await record(
        AuditKind.TRAINING_CREATED,
        training_id,
        who=actor,
        model=model_id,
        model_digest=base.digest,
        options={"mu": 1e-5, "note": "größer \u2028 “als”\\"},
        participants=participants,
    )
    await record(AuditKind.TRAINING_STARTED, training_id, who=actor)
    aggregator = Aggregator(
        AggregatorSpec(
            training_id=str(training_id),
            strategy="FedAvg",
            blob_url="",
            callback=CallbackTarget(url="", secret=""),
        ),
        store,
        torch.device("cpu"),
    )
    digest = base.digest
    for index in range(ROUNDS):
        digest = await _run_round(
            store, aggregator, training_id, model_id, participants, index, digest
        )
    await _average(store, aggregator, training_id, model_id, participants, digest)
    await record(AuditKind.TRAINING_COMPLETED, training_id)
    return History(data_dir, training_id, model_id)


async def _run_round(
    store: BlobStore,
    aggregator: Aggregator,
    training_id: UUID,
    model_id: UUID,
    participants: list[UUID],
    index: int,
    base_digest: str,
) -> str:
    key = training_key(training_id, index)
    await Round.insert(Round(key=key, training=training_id, index=index, phase="closed"))
    await record(
        AuditKind.ROUND_OPENED, training_id, round=index, base_digest=base_digest, cohort=None
    )
    rows = []
    for number, user in enumerate(participants):
        blob = store.put([pickled(drifted(tiny(), seed=10 * index + number))])
        row = LocalModel(
            id=uuid4(),
            key=training_key(training_id, index, user),
            round_key=key,
            training=training_id,
            base_model=model_id,
            round=index,
            owner=user,
            digest=blob.digest,
            size_bytes=blob.size_bytes,
            sample_size=10 + number,
        )
        await LocalModel.insert(row)
        await record(
            AuditKind.UPDATE_ACCEPTED,
            training_id,
            who=user,
            round=index,
            update=row.id,
            digest=row.digest,
            sample_size=row.sample_size,
        )
        rows.append(row)
    await record(AuditKind.ROUND_CLOSED, training_id, round=index, reason="complete", missing=[])
    refs = [
        UpdateRef(update_id=str(row.id), digest=row.digest, sample_size=row.sample_size)
        for row in rows
    ]
    outcome = aggregator.finish_round(FinishRound(round=index, base_key=base_digest, updates=refs))
    assert isinstance(outcome, RoundAggregated)
    await record(
        AuditKind.ROUND_AGGREGATED,
        training_id,
        round=index,
        base_digest=base_digest,
        strategy="FedAvg",
        accumulate="float64",
        device=outcome.figures.device,
        torch=outcome.figures.torch,
        updates=[
            {
                "update": row.id,
                "owner": row.owner,
                "digest": row.digest,
                "sample_size": row.sample_size,
            }
            for row in rows
        ],
        digest=outcome.digest,
        size_bytes=outcome.size_bytes,
    )
    await _add_version(model_id, index + 1, outcome.digest, outcome.size_bytes)
    return outcome.digest


async def _average(
    store: BlobStore,
    aggregator: Aggregator,
    training_id: UUID,
    model_id: UUID,
    participants: list[UUID],
    base_digest: str,
) -> None:
    index = ROUNDS - 1
    rows = []
    for number, user in enumerate(participants):
        values = torch.randn(66, generator=torch.Generator().manual_seed(number))
        first, second = (store.put([pickled(tensor)]).digest for tensor in (values, values**2))
        row = LocalMoments(
            id=uuid4(),
            key=training_key(training_id, index, user),
            round_key=training_key(training_id, index),
            training=training_id,
            owner=user,
            first_digest=first,
            second_digest=second,
            sample_size=10 + number,
        )
        await LocalMoments.insert(row)
        await record(
            AuditKind.MOMENTS_ACCEPTED,
            training_id,
            who=user,
            round=index,
            moments=row.id,
            first_digest=first,
            second_digest=second,
            sample_size=row.sample_size,
        )
        rows.append(row)
    outcome = aggregator.finish_moments(
        FinishMoments(
            round=index,
            base_key=base_digest,
            moments=[
                MomentsRef(
                    moments_id=str(row.id),
                    first_digest=row.first_digest,
                    second_digest=row.second_digest,
                    sample_size=row.sample_size,
                )
                for row in rows
            ],
        )
    )
    assert isinstance(outcome, MomentsAggregated)
    await GlobalModel.update(
        {
            GlobalModel.swag_first_digest: outcome.first_digest,
            GlobalModel.swag_second_digest: outcome.second_digest,
        }
    ).where(GlobalModel.id == model_id)
    await record(
        AuditKind.MOMENTS_AGGREGATED,
        training_id,
        round=index,
        base_digest=base_digest,
        moments=[
            {
                "moments": row.id,
                "owner": row.owner,
                "first_digest": row.first_digest,
                "second_digest": row.second_digest,
                "sample_size": row.sample_size,
            }
            for row in rows
        ],
        first_digest=outcome.first_digest,
        second_digest=outcome.second_digest,
    )


async def _add_version(model_id: UUID, index: int, digest: str, size_bytes: int) -> None:
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
