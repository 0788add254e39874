"""Use cases of models that are there: look, download, delete."""

from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Metric,
    ModelVersion,
    Participant,
    Training,
)
from backend.errors import Conflict, NotFound, NothingHere
from backend.models.access import MAY_DELETE, FoundModel, find_model, find_readable
from backend.models.presentation import global_json, local_json, metadata_json
from backend.models.schemas import AnyModelJson, AnyModelMetadata
from backend.rounds.coordinator import Coordinator
from backend.rounds.state import RUNNING
from backend.security.authentication import Caller
from backend.weights import Weights


class ModelService:
    """Shows models to who may see them."""

    def __init__(
        self,
        *,
        database: Database,
        weights: Weights,
        coordinator: Coordinator,
        base_url: str,
    ) -> None:
        self._database = database
        self._weights = weights
        self._coordinator = coordinator
        self._base_url = base_url

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
        return metadata_json(model, self._base_url)

    async def weights_digest(self, given_id: str, caller: Caller) -> str:
        """The blob with the model's present weights. Raises `NotFound` or `NotAllowed`."""
        model = (await find_readable(given_id, caller)).model
        if isinstance(model, LocalModel) and not model.kept:
            raise NotFound("Model", given_id)
        return str(model.digest)

    async def moment_digest(self, given_id: str, caller: Caller, *, first: bool) -> str:
        """The blob with an aggregated SWAG moment.

        Raises:
            NotFound, NotAllowed: as for the model itself.
            NothingHere: there was no SWAG round yet.
        """
        model = (await find_readable(given_id, caller)).model
        digest = None
        if isinstance(model, GlobalModel):
            digest = model.swag_first_digest if first else model.swag_second_digest
        return _required(digest, f"Model '{given_id}' has no SWAG moments.")

    async def preprocessing_digest(self, given_id: str, caller: Caller) -> str:
        """The blob with the model's preprocessing module, for a local model that of its base.

        Raises:
            NotFound, NotAllowed: as for the model itself.
            NothingHere: it has none.
        """
        found = await find_readable(given_id, caller)
        model = await global_model_of(found)
        return _required(
            model.preprocessing_digest,
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
        if found.training is not None and found.training.state in RUNNING:
            raise Conflict(
                f"Training {found.training.id} of this model is running; delete it first."
            )
        if isinstance(found.model, LocalModel):
            await self._delete_local(found.model)
        else:
            await self._delete_global(found.model, found.training)

    async def _delete_local(self, model: LocalModel) -> None:
        async with self._database.write_transaction():
            await Metric.delete().where(Metric.model == model.id)
            await LocalModel.delete().where(LocalModel.id == model.id)
        await self._weights.drop([model.digest])

    async def _delete_global(self, model: GlobalModel, training: Training | None) -> None:
        mean = await GlobalModel.objects().where(GlobalModel.members.like(f"%{model.id}%")).first()
        if mean is not None:
            raise Conflict(f"The model is a member of mean model {mean.id}; delete that first.")
        if training is not None:
            await self._coordinator.delete(training.id)
        versions = await ModelVersion.select(ModelVersion.digest).where(
            ModelVersion.model == model.id
        )
        async with self._database.write_transaction():
            await Metric.delete().where(Metric.model == model.id)
            await GlobalModel.delete().where(GlobalModel.id == model.id)
        others = (model.preprocessing_digest, model.swag_first_digest, model.swag_second_digest)
        digests = [row["digest"] for row in versions]
        await self._weights.drop([*digests, *(digest for digest in others if digest)])


async def global_model_of(found: FoundModel) -> GlobalModel:
    """The model itself, or the global model that a local one was made of."""
    if isinstance(found.model, GlobalModel):
        return found.model
    base = await GlobalModel.objects().get(GlobalModel.id == found.model.base_model)
    if base is None:
        raise NotFound("Model", found.model.base_model)
    return base


def _required(digest: str | None, otherwise: str) -> str:
    if digest is None:
        raise NothingHere(otherwise)
    return digest
