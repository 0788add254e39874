"""Checks what a training has kept: each blob against its name, each round by computing it again.

Looks at the database as it is now: a running server may drop at any moment what was kept a moment
ago.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from uuid import UUID

import msgspec

from backend.audit.details import MomentsAggregated, RoundAggregated
from backend.audit.findings import Check, Findings, Outcome
from backend.audit.log_check import LoggedRound
from backend.audit.recomputation import RecomputationFailed, Recomputer
from backend.db.tables import (
    AuditEvent,
    GlobalModel,
    LocalModel,
    LocalMoments,
    ModelVersion,
    training_key,
)
from compute.blobs import BlobNotFound, BlobStore
from compute.contract import (
    AggregationOptions,
    FinishMoments,
    FinishRound,
    MomentsRef,
    Recomputed,
    RecomputeMoments,
    RecomputeOrder,
    RecomputeRound,
    UpdateRef,
)


@dataclass(frozen=True)
class _Sum:
    """A round's aggregation, or that of its moments.

    Attributes:
        order: To compute it again.
        needed: Blobs that this takes.
        wanted: Blobs that it gave.
        device, torch: That it was computed with; empty when the log does not say.
    """

    check: Check
    what: str
    order: RecomputeOrder
    needed: frozenset[str]
    wanted: list[str]
    device: str
    torch: str


class RoundCheck:
    """The blobs and the sums of one training; one round at a time is in memory."""

    def __init__(
        self,
        training_id: UUID,
        model_id: UUID,
        *,
        blobs: BlobStore,
        blob_url: str,
        recomputer: Recomputer,
        findings: Findings,
    ) -> None:
        self._id = training_id
        self._model_id = model_id
        self._blobs = blobs
        self._blob_url = blob_url
        self._recomputer = recomputer
        self._findings = findings
        self._sound: set[str] = set()
        self._num_blobs = 0

    async def run(self, logged: LoggedRound) -> None:
        """Check a round's blobs, and compute it again if all that takes is kept."""
        index = logged.index
        kept = await self._kept(index)
        # The model that a round starts from was looked at with the round before.
        before, self._sound = self._sound, set()
        for digest in sorted(kept):
            if digest in before or await self._is_sound(digest, index):
                self._sound.add(digest)
        if logged.aggregated is not None:
            await self._compute_again(index, await self._aggregation(index, logged.aggregated))
        else:
            self._findings.of_round(Check.ROUND, index, *_without_sum(logged))
        if logged.averaged is not None:
            await self._compute_again(index, await self._averages(index, logged.averaged))

    async def conclude(self) -> None:
        """Check the files of the model that belong to no round, and say how many were sound."""
        model = await GlobalModel.objects().get(GlobalModel.id == self._model_id)
        if model is not None:
            others = {
                model.preprocessing_digest,
                model.swag_first_digest,
                model.swag_second_digest,
            }
            for digest in others - {None}:
                await self._is_sound(digest, None)
        self._findings.concludes(
            Check.BLOBS, f"{self._num_blobs} kept files, each with the SHA-256 that is its name."
        )

    async def _aggregation(self, index: int, event_id: int) -> _Sum:
        details = msgspec.json.decode(await _details(event_id), type=RoundAggregated)
        order = RecomputeRound(
            blob_url=self._blob_url,
            strategy=details.strategy,
            options=AggregationOptions(accumulate=details.accumulate),
            order=FinishRound(
                round=index,
                base_key=details.base_digest,
                updates=[
                    UpdateRef(
                        update_id=str(update.update),
                        digest=update.digest,
                        sample_size=update.sample_size,
                    )
                    for update in details.updates
                ],
            ),
            digest=details.digest,
            device=details.device,
        )
        return _Sum(
            Check.ROUND,
            f"the sum of {len(details.updates)} updates",
            order,
            frozenset({details.base_digest, *(update.digest for update in details.updates)}),
            [details.digest],
            details.device,
            details.torch,
        )

    async def _averages(self, index: int, event_id: int) -> _Sum:
        details = msgspec.json.decode(await _details(event_id), type=MomentsAggregated)
        order = RecomputeMoments(
            blob_url=self._blob_url,
            order=FinishMoments(
                round=index,
                base_key=details.base_digest,
                moments=[
                    MomentsRef(
                        moments_id=str(moments.moments),
                        first_digest=moments.first_digest,
                        second_digest=moments.second_digest,
                        sample_size=moments.sample_size,
                    )
                    for moments in details.moments
                ],
            ),
            first_digest=details.first_digest,
            second_digest=details.second_digest,
        )
        return _Sum(
            Check.MOMENTS,
            f"the average of {len(details.moments)} pairs of moments",
            order,
            frozenset(d for m in details.moments for d in (m.first_digest, m.second_digest)),
            [details.first_digest, details.second_digest],
            "",
            "",
        )

    async def _compute_again(self, index: int, made: _Sum) -> None:
        if made.needed <= self._sound:
            try:
                answer = await self._recomputer(made.order)
            except RecomputationFailed as error:
                outcome, detail = Outcome.UNDECIDED, str(error)
            else:
                outcome, detail = judge(made.wanted, answer, device=made.device, torch=made.torch)
                if answer.failure is None:
                    self._findings.of_round(made.check, index, outcome, f"{made.what}: {detail}")
                    return
        else:
            outcome, detail = Outcome.UNDECIDED, "some of its files are missing or changed."
        if missing := made.needed - await self._kept(index):
            outcome = Outcome.NOT_KEPT
            detail = f"{len(missing)} of the {len(made.needed)} files it was made of are not kept."
        self._findings.of_round(made.check, index, outcome, f"{made.what}: {detail}")

    async def _kept(self, index: int) -> set[str]:
        """Blobs that the round was made of, and of what it gave, that should be there now."""
        key = training_key(self._id, index)
        updates = await LocalModel.select(LocalModel.digest).where(
            (LocalModel.round_key == key) & LocalModel.kept.eq(True)
        )
        moments = await LocalMoments.select(
            LocalMoments.first_digest, LocalMoments.second_digest
        ).where((LocalMoments.round_key == key) & LocalMoments.kept.eq(True))
        keys = [training_key(self._model_id, version) for version in (index, index + 1)]
        versions = await ModelVersion.select(ModelVersion.digest).where(
            ModelVersion.key.is_in(keys) & ModelVersion.kept.eq(True)
        )
        return {digest for row in (*updates, *moments, *versions) for digest in row.values()}

    async def _is_sound(self, digest: str, index: int | None) -> bool:
        """Whether the blob is there and has the digest that it is named after."""
        try:
            found = await asyncio.to_thread(_sha256, self._blobs, digest)
        except BlobNotFound:
            if index is None or digest in await self._kept(index):
                self._findings.differs(
                    Check.BLOBS, f"File {digest} should be kept and is missing.", round=index
                )
            return False
        if found != digest:
            self._findings.differs(
                Check.BLOBS,
                f"File {digest} was changed: its SHA-256 is now {found}.",
                round=index,
            )
            return False
        self._num_blobs += 1
        return True


def judge(wanted: list[str], answer: Recomputed, *, device: str, torch: str) -> tuple[Outcome, str]:
    """What computing again proves, and a sentence for people.

    Args:
        wanted: Digests by the log.
        device: That the log names; empty when it names none.
        torch: Likewise.
    """
    if answer.failure is not None:
        return Outcome.DIFFERENT, f"it cannot be computed again: {answer.failure}"
    if answer.digests == wanted:
        return Outcome.VERIFIED, "computed again, the same bytes."
    elsewhere = ""
    if device and device.partition(":")[0] != answer.device.partition(":")[0]:
        elsewhere = f" It was computed on {device}, and again on {answer.device}."
    if answer.difference is not None:
        first = answer.difference
        place = f"{first.name}{first.index}" if first.index else first.name
        return Outcome.DIFFERENT, (
            f"computed again, tensor {place} is {first.recomputed} and not {first.stored}."
            f"{elsewhere}"
        )
    other_torch = bool(torch) and torch != answer.torch
    versions = f"by torch {torch} then and {answer.torch} now"
    if answer.compared:
        outcome = Outcome.SAME_TENSORS if other_torch else Outcome.DIFFERENT
        return outcome, (
            "computed again, every tensor has the same bits, but the file around them is another"
            f"{f'; written {versions}' if other_torch else ''}."
        )
    if other_torch:
        return Outcome.UNDECIDED, (
            f"computed again, the file is another, but written {versions}; what it was is not kept "
            "to compare with."
        )
    return Outcome.DIFFERENT, (
        f"computed again, its SHA-256 is {', '.join(answer.digests)} and not {', '.join(wanted)}; "
        f"what it was is not kept to compare with.{elsewhere}"
    )


def _without_sum(logged: LoggedRound) -> tuple[Outcome, str]:
    if logged.handed_on:
        return Outcome.HANDED_ON, "models were handed on, nothing was summed."
    if logged.given_up is not None:
        return Outcome.GIVEN_UP, f"no sum was made: {logged.given_up}"
    return Outcome.OPEN, "no sum was made."


async def _details(event_id: int) -> str:
    event = await AuditEvent.select(AuditEvent.details).where(AuditEvent.id == event_id).first()
    if event is None:
        message = f"Event {event_id} was removed a moment ago."
        raise LookupError(message)
    return str(event["details"])


def _sha256(blobs: BlobStore, digest: str) -> str:
    sha256 = hashlib.sha256()
    for chunk in blobs.read(digest):
        sha256.update(chunk)
    return sha256.hexdigest()
