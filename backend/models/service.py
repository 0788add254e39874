"""Use cases of models that are there: look, download, delete."""

from collections.abc import Sequence
from uuid import UUID

from backend.audit.events import AuditKind, record
from backend.audit.feed import AuditFeed
from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    LocalMoments,
    Metric,
    ModelVersion,
    Participant,
    Training,
    training_key,
)
from backend.errors import Conflict, Gone, NotFound, NothingHere
from backend.models.access import (
    MAY_DELETE,
    MAY_READ_GLOBAL,
    ModelSummary,
    find_global_model,
    find_model,
    find_readable,
    global_model_of,
)
from backend.models.presentation import global_json, local_json, metadata_json
from backend.models.records import lock_model
from backend.models.schemas import (
    AnyModelJson,
    AnyModelMetadata,
    ModelVersionJson,
    ModelWeights,
)
from backend.rounds.records import guard
from backend.rounds.state import RUNNING
from backend.security.caller import Caller
from backend.weights import Weights


class ModelService:
    """Shows models to who may see them."""

    def __init__(
        self,
        *,
        database: Database,
        weights: Weights,
        base_url: str,
        audit_feed: AuditFeed,
    ) -> None:
        self._database = database
        self._weights = weights
        self._base_url = base_url
        self._audit_feed = audit_feed

    async def list(self, caller: Caller) -> list[AnyModelJson]:
        """Models that are the caller's own or of a training that they run or take part in."""
        joined = Participant.select(Participant.training).where(Participant.user == caller.id)
        trained = Training.select(Training.model).where(
            (Training.actor == caller.id) | Training.id.is_in(joined)
        )
        global_models = (
            await GlobalModel.objects()
            .where((GlobalModel.owner == caller.id) | GlobalModel.id.is_in(trained))
            .order_by(GlobalModel.created_at)
        )
        local_models = (
            await LocalModel.objects()
            .where((LocalModel.owner == caller.id) & LocalModel.kept.eq(True))
            .order_by(LocalModel.received_at)
        )
        return [
            *(global_json(m, self._base_url) for m in global_models),
            *(local_json(m) for m in local_models),
        ]

    async def metadata(self, given_id: str, caller: Caller) -> AnyModelMetadata:
        """A model with its statistics. Raises `NotFound` or `NotAllowed`."""
        model = (await find_readable(given_id, caller)).model
        if not model.is_local:
            return metadata_json(await global_model_of(model), self._base_url)
        row = await LocalModel.objects().get(LocalModel.id == model.id)
        if row is None:
            raise NotFound("Model", given_id)
        return metadata_json(row, self._base_url)

    async def weights(self, given_id: str, caller: Caller) -> ModelWeights:
        """The model's present weights. Raises `NotFound` or `NotAllowed`."""
        model = (await find_readable(given_id, caller)).model
        if not model.kept:
            raise NotFound("Model", given_id)
        return ModelWeights(model.digest, model.round)

    async def versions(self, given_id: str, caller: Caller) -> Sequence[ModelVersionJson]:
        """Every version of a global model, oldest first. Raises `NotFound` or `NotAllowed`."""
        model = await _readable_global(given_id, caller)
        rows = (
            await ModelVersion.objects()
            .where(ModelVersion.model == model.id)
            .order_by(ModelVersion.round)
        )
        return [
            ModelVersionJson(
                round=row.round,
                digest=row.digest,
                size_bytes=row.size_bytes,
                created_at=row.created_at,
                kept=row.kept,
            )
            for row in rows
        ]

    async def version(self, given_id: str, round: int, caller: Caller) -> ModelWeights:
        """The weights that a global model had after so many aggregations.

        Raises:
            NotFound, NotAllowed: as for the model itself.
            NothingHere: it has no such version.
            Gone: the version is not kept any more.
        """
        model = await _readable_global(given_id, caller)
        version = await ModelVersion.objects().get(
            ModelVersion.key == training_key(model.id, round)
        )
        if version is None:
            raise NothingHere(
                f"Model '{given_id}' has no version of round {round}; its newest is of round "
                f"{model.round}."
            )
        if not version.kept:
            raise Gone(
                f"The weights of round {round} were deleted: the training keeps its newest "
                "versions only (option keep_versions)."
            )
        return ModelWeights(version.digest, version.round)

    async def moment_digest(self, given_id: str, caller: Caller, *, first: bool) -> str:
        """The blob with an aggregated SWAG moment.

        Raises:
            NotFound, NotAllowed: as for the model itself.
            NothingHere: there was no SWAG round yet.
        """
        model = (await find_readable(given_id, caller)).model
        digest = None
        if not model.is_local:
            row = await global_model_of(model)
            digest = row.swag_first_digest if first else row.swag_second_digest
        return _required(digest, f"Model '{given_id}' has no SWAG moments.")

    async def preprocessing_digest(self, given_id: str, caller: Caller) -> str:
        """The blob with the model's preprocessing module, for a local model that of its base.

        Raises:
            NotFound, NotAllowed: as for the model itself.
            NothingHere: it has none.
        """
        model = (await find_readable(given_id, caller)).model
        return _required(
            (await global_model_of(model)).preprocessing_digest,
            f"Model '{given_id}' has no preprocessing model defined.",
        )

    async def delete(self, given_id: str, caller: Caller) -> None:
        """Remove a model, and with a global one its training.

        Raises:
            NotFound: no such model.
            NotAllowed: the caller is neither its owner nor the actor of its training.
            Conflict: its training is running, or a mean model has it as a member.
        """
        found = await find_model(given_id, caller)
        found.require(
            MAY_DELETE,
            "You are neither the owner of the model nor the actor of the corresponding training.",
        )
        model = found.model
        if model.is_local:
            dropped = await self._delete_local(model, caller)
        else:
            dropped = await self._delete_global(model, caller)
        if model.training is not None:
            self._audit_feed.wake(model.training)
        await self._weights.drop(dropped)

    async def _delete_local(self, model: ModelSummary, caller: Caller) -> Sequence[str]:
        async with self._database.write_transaction():
            if model.training is not None:
                await _require_idle(model.training)
                await record(
                    AuditKind.UPDATE_DELETED,
                    model.training,
                    who=caller.id,
                    round=model.round,
                    update=model.id,
                )
            await Metric.delete().where(Metric.model == model.id)
            await LocalModel.delete().where(LocalModel.id == model.id)
        return [model.digest]

    async def _delete_global(self, model: ModelSummary, caller: Caller) -> Sequence[str]:
        """The training goes with its model. Its row is locked first, as the coordinator does."""
        async with self._database.write_transaction():
            if model.training is not None:
                await _require_idle(model.training)
            locked = await lock_model(model.id)
            owned = Training.select(Training.id).where(Training.model == model.id)
            if model.training is None and await Training.exists().where(Training.model == model.id):
                raise Conflict("A training was just made of this model; delete it first.")
            mean = await GlobalModel.objects().get(GlobalModel.members.like(f"%{model.id}%"))
            if mean is not None:
                raise Conflict(f"The model is a member of mean model {mean.id}; delete that first.")
            versions = await ModelVersion.objects().where(ModelVersion.model == model.id)
            updates = await LocalModel.objects().where(LocalModel.training.is_in(owned))
            moments = await LocalMoments.objects().where(LocalMoments.training.is_in(owned))
            await Metric.delete().where(
                (Metric.model == model.id)
                | Metric.model.is_in(
                    LocalModel.select(LocalModel.id).where(LocalModel.training.is_in(owned))
                )
            )
            if model.training is not None:
                await record(AuditKind.TRAINING_DELETED, model.training, who=caller.id)
            await GlobalModel.delete().where(GlobalModel.id == model.id)
        others = (
            locked.preprocessing_digest,
            locked.swag_first_digest,
            locked.swag_second_digest,
            *(digest for row in moments for digest in (row.first_digest, row.second_digest)),
        )
        digests = [version.digest for version in versions]
        digests += [update.digest for update in updates]
        return [*digests, *(digest for digest in others if digest)]


async def _readable_global(given_id: str, caller: Caller) -> ModelSummary:
    found = await find_global_model(given_id, caller)
    found.require(MAY_READ_GLOBAL)
    return found.model


async def _require_idle(training_id: UUID) -> None:
    """Raises `Conflict` while the training runs; keeps it from starting in this transaction."""
    if (await guard(training_id)).state in RUNNING:
        raise Conflict(f"Training {training_id} of this model is running; delete it first.")


def _required(digest: str | None, otherwise: str) -> str:
    if digest is None:
        raise NothingHere(otherwise)
    return digest
