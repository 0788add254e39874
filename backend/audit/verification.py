"""Verifies a training: its log, what the tables say about the same, its blobs, and its sums."""

from uuid import UUID

from backend.audit.findings import Findings, Outcome, Verdict
from backend.audit.log_check import LogCheck
from backend.audit.recomputation import Recomputer
from backend.audit.round_check import RoundCheck
from backend.db.engine import Database
from backend.db.tables import AuditEvent, Training
from backend.errors import NotFound
from compute.blobs import BlobStore


async def verify(
    training_id: UUID,
    findings: Findings,
    *,
    database: Database,
    blobs: BlobStore,
    blob_url: str,
) -> Verdict:
    """Check everything; what is found is passed on as it comes. Nothing is written.

    A server may be running on the same database and blobs.

    Raises:
        NotFound: there never was such a training.
    """
    log = LogCheck(training_id, findings)
    async with database.read_snapshot():
        if not (
            await Training.exists().where(Training.id == training_id)
            or await AuditEvent.exists().where(AuditEvent.training == training_id)
        ):
            raise NotFound("Training", training_id)
        await log.run()
    async with Recomputer() as recomputer:
        if not log.is_deleted and log.model_id is not None:
            rounds = RoundCheck(
                training_id,
                log.model_id,
                blobs=blobs,
                blob_url=blob_url,
                recomputer=recomputer,
                findings=findings,
            )
            for logged in log.rounds.values():
                await rounds.run(logged)
            await rounds.conclude()
    return Verdict(
        training=str(training_id),
        verdict=Outcome.DIFFERENT if findings.differences else Outcome.VERIFIED,
        events=log.events,
        last_digest=log.last_digest,
        rounds=dict(findings.rounds),
        differences=dict(findings.differences),
    )
