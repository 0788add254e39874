"""Use cases of models: upload, look, download, delete."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import msgspec

from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Metric,
    ModelVersion,
    Participant,
    Training,
    training_key,
)
from backend.errors import Conflict, NotFound, NothingHere, RefusedUpload
from backend.forms import Form
from backend.models.access import (
    MAY_DELETE,
    find_global_model,
    find_model,
    find_readable,
)
from backend.models.forms import read_model, read_update
from backend.models.schemas import (
    GlobalModelJson,
    GlobalModelMetadata,
    InputShape,
    LocalModelJson,
    LocalModelMetadata,
)
from backend.rounds.coordinator import Coordinator, NewUpdate, require_participant
from backend.rounds.state import TrainingState
from backend.security.authentication import Caller
from backend.weights import Weights
from compute.blobs import BlobRef
from compute.contract import CheckModel, CheckPreprocessing, CheckUpdate, Rejected
from compute.gateway import ComputeGateway


class ModelService:
    """Takes models in after compute has looked at them, and gives them out again."""

    def __init__(
        self,
        *,
        database: Database,
        gateway: ComputeGateway,
        weights: Weights,
        coordinator: Coordinator,
        base_url: str,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._weights = weights
        self._coordinator = coordinator
        self._base_url = base_url

    async def upload(self, form: Form, caller: Caller) -> UUID:
        """The id of the new global model.

        Raises:
            InvalidRequest: a field is wrong.
            RefusedUpload: a file is not what it should be.
        """
        fields = read_model(form)
        staged = form.file("model_file")
        preprocessing = form.files.get("model_preprocessing_file")
        with refusing("model_file", "Invalid model file"):
            report = await self._gateway.check_model(
                CheckModel(key=staged.key, input_shape=fields.input_shape)
            )
        if preprocessing is not None:
            with refusing("model_preprocessing_file", "Invalid preprocessing file"):
                await self._gateway.check_preprocessing(CheckPreprocessing(key=preprocessing.key))
        model = GlobalModel(
            id=uuid4(),
            kind=fields.kind,
            owner=caller.id,
            name=fields.name,
            description=fields.description,
            input_shape=_to_json(fields.input_shape),
            round=fields.round,
            format=report.format.value,
            digest=staged.digest,
            size_bytes=staged.size_bytes,
            preprocessing_digest=preprocessing.digest if preprocessing else None,
            num_parameters=report.num_parameters,
            stats=_to_json(report.stats),
        )
        uploads = [staged] if preprocessing is None else [staged, preprocessing]
        async with self._weights.recorded(*uploads), self._database.write_transaction():
            await insert_model(model)
        return model.id

    async def upload_update(self, given_id: str, form: Form, caller: Caller) -> None:
        """Take a participant's update into the open round.

        Raises:
            NotFound, NothingHere: no such model, or it is not being trained.
            NotAllowed: the caller is no participant.
            InvalidRequest: a field is wrong, or the round is not open.
            RefusedUpload: the file is no update of this model.
            Conflict: the caller delivered another update for this round.
        """
        found = await find_global_model(given_id, caller)
        training = found.training
        if training is None:
            raise NothingHere(f"Model with ID {given_id} does not have a training process running")
        fields = read_update(form)
        await require_participant(training.id, caller.id)
        staged = form.file("model_file")
        base = await ModelVersion.objects().get(
            ModelVersion.key == training_key(training.model, fields.round)
        )
        if base is not None:
            with refusing("model_file", "Invalid model file"):
                await self._gateway.check_update(CheckUpdate(key=staged.key, base_key=base.digest))
        # Without a base the round does not exist yet, and the coordinator says so.
        await self._coordinator.accept_update(
            NewUpdate(
                training_id=training.id,
                owner=caller.id,
                round=fields.round,
                sample_size=fields.sample_size,
                upload=staged,
                metrics=fields.metrics,
            )
        )

    async def list(self, caller: Caller) -> list[GlobalModelJson | LocalModelJson]:
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
            *(self.global_json(m) for m in global_models),
            *(local_json(m) for m in local_models),
        ]

    async def metadata(
        self, given_id: str, caller: Caller
    ) -> GlobalModelMetadata | LocalModelMetadata:
        """A model with its statistics. Raises `NotFound` or `NotAllowed`."""
        model = (await find_readable(given_id, caller)).model
        if isinstance(model, LocalModel):
            return LocalModelMetadata(**msgspec.structs.asdict(local_json(model)))
        return GlobalModelMetadata(
            **msgspec.structs.asdict(self.global_json(model)), stats=_decoded_stats(model.stats)
        )

    async def weights_of(self, given_id: str, caller: Caller) -> BlobRef:
        """The blob with the model's present weights. Raises `NotFound` or `NotAllowed`."""
        model = (await find_readable(given_id, caller)).model
        if isinstance(model, LocalModel) and not model.kept:
            raise NotFound("Model", given_id)
        return BlobRef(model.digest, model.size_bytes)

    async def preprocessing_of(self, given_id: str, caller: Caller) -> str:
        """The digest of the model's preprocessing module, for a local model that of its base.

        Raises:
            NotFound, NotAllowed: as for the model itself.
            NothingHere: it has none.
        """
        model = (await find_readable(given_id, caller)).model
        if isinstance(model, LocalModel):
            base = await GlobalModel.objects().get(GlobalModel.id == model.base_model)
            digest = None if base is None else base.preprocessing_digest
        else:
            digest = model.preprocessing_digest
        if digest is None:
            raise NothingHere(f"Model '{given_id}' has no preprocessing model defined.")
        return str(digest)

    async def delete(self, given_id: str, caller: Caller) -> None:
        """Remove a model, and with a global one its training.

        Raises:
            NotFound: no such model.
            NotAllowed: the caller is neither its owner nor the actor of its training.
            Conflict: its training is running.
        """
        found = await find_model(given_id, caller)
        found.require(
            MAY_DELETE,
            "You are neither the owner of the model nor the actor of the corresponding training.",
        )
        model, training = found.model, found.training
        if training is not None and training.state == TrainingState.ONGOING:
            raise Conflict(f"Training {training.id} of this model is running; delete it first.")
        if isinstance(model, LocalModel):
            async with self._database.write_transaction():
                await Metric.delete().where(Metric.model == model.id)
                await LocalModel.delete().where(LocalModel.id == model.id)
            await self._weights.drop([model.digest])
            return
        if training is not None:
            await self._coordinator.delete(training.id)
        versions = await ModelVersion.select(ModelVersion.digest).where(
            ModelVersion.model == model.id
        )
        async with self._database.write_transaction():
            await Metric.delete().where(Metric.model == model.id)
            await GlobalModel.delete().where(GlobalModel.id == model.id)
        digests = [row["digest"] for row in versions]
        await self._weights.drop([d for d in (*digests, model.preprocessing_digest) if d])

    def global_json(self, model: GlobalModel) -> GlobalModelJson:
        """A global model as lists show it."""
        has_preprocessing = model.preprocessing_digest is not None
        url = f"{self._base_url}/api/models/{model.id}/preprocessing/"
        return GlobalModelJson(
            id=model.id,
            round=model.round,
            name=model.name,
            description=model.description,
            input_shape=_decoded_shape(model.input_shape),
            preprocessing=url if has_preprocessing else None,
            owner=model.owner,
            has_preprocessing=has_preprocessing,
        )


async def insert_model(model: GlobalModel) -> None:
    """Insert a global model with its first version; runs inside a write transaction."""
    await GlobalModel.insert(model)
    await ModelVersion.insert(
        ModelVersion(
            key=training_key(model.id, model.round),
            model=model.id,
            round=model.round,
            digest=model.digest,
            size_bytes=model.size_bytes,
        )
    )


def local_json(model: LocalModel) -> LocalModelJson:
    """A local model as lists show it."""
    return LocalModelJson(
        id=model.id,
        round=model.round,
        sample_size=model.sample_size,
        owner=model.owner,
        base_model=model.base_model,
    )


@contextmanager
def refusing(field: str, prefix: str) -> Iterator[None]:
    """Compute's rejection of an upload, as the refusal of a form field."""
    try:
        yield
    except Rejected as rejected:
        detail = f"{prefix}: {rejected.detail}"
        raise RefusedUpload(detail, errors={field: [detail]}) from rejected


def _decoded_shape(encoded: str | None) -> InputShape:
    return None if encoded is None else msgspec.json.decode(encoded, type=list[int | None])


def _decoded_stats(encoded: str | None) -> dict[str, object] | None:
    return None if encoded is None else msgspec.json.decode(encoded, type=dict[str, object])


def _to_json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
