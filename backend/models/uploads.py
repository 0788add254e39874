"""What is taken in: models, updates, moments and preprocessing, once compute has looked at them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

from backend.db.engine import Database
from backend.db.tables import GlobalModel
from backend.errors import InvalidRequest, RefusedUpload
from backend.forms import Form
from backend.models.access import UploadTarget
from backend.models.forms import (
    MAX_NAME_LENGTH,
    UploadedUpdate,
    read_json_shape,
    read_model,
    read_moments,
    read_update,
)
from backend.models.presentation import to_json
from backend.models.records import insert_model, lock_model
from backend.models.schemas import CreateMean
from backend.rounds.coordinator import Coordinator
from backend.rounds.deliveries import NewMoments, NewUpdate
from backend.rounds.records import base_key
from backend.security.caller import Caller
from backend.weights import Weights
from compute.blobs import Staged
from compute.contract import (
    CheckModel,
    CheckMoments,
    CheckPreprocessing,
    CheckUpdate,
    MakeMean,
    Rejected,
)
from compute.gateway import ComputeGateway


class ModelUploads:
    """Checks an upload in compute, makes it durable, records it; or leaves nothing behind."""

    def __init__(
        self,
        *,
        database: Database,
        gateway: ComputeGateway,
        weights: Weights,
        coordinator: Coordinator,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._weights = weights
        self._coordinator = coordinator

    async def add_model(self, form: Form, caller: Caller) -> UUID:
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
            input_shape=to_json(fields.input_shape),
            round=fields.round,
            format=report.format.value,
            digest=staged.digest,
            size_bytes=staged.size_bytes,
            preprocessing_digest=preprocessing.digest if preprocessing else None,
            num_parameters=report.num_parameters,
            stats=to_json(report.stats),
        )
        uploads = [staged] if preprocessing is None else [staged, preprocessing]
        async with self._weights.recorded(*uploads), self._database.write_transaction():
            await insert_model(model)
        return model.id

    async def add_mean(self, order: CreateMean, caller: Caller) -> UUID:
        """The id of a new mean model: an ensemble, and the mean of its members as a module.

        Raises:
            InvalidRequest: a member is unknown, given twice, or not the caller's own.
            RefusedUpload: the members are not of one architecture.
        """
        if order.type.upper() != "MEAN":
            raise InvalidRequest(
                "No uploaded file 'model_file' found.",
                errors={"model_file": ["Only models of type MEAN are made without a file."]},
            )
        if len(order.name) > MAX_NAME_LENGTH:
            raise InvalidRequest.field("name", f"At most {MAX_NAME_LENGTH} characters.")
        shape = read_json_shape(order.input_shape)
        members = await _own_members(order.models, caller)
        with refusing("models", "Invalid model selection"):
            mean = await self._gateway.make_mean(MakeMean(keys=[m.digest for m in members]))
        model = GlobalModel(
            id=uuid4(),
            kind="MEAN",
            owner=caller.id,
            name=order.name,
            description=order.description,
            input_shape=to_json(shape),
            format=mean.format.value,
            digest=mean.digest,
            size_bytes=mean.size_bytes,
            members=to_json(order.models),
            num_parameters=mean.num_parameters,
        )
        async with self._weights.written(mean.digest), self._database.write_transaction():
            for member in members:
                await lock_model(member.id)
            await insert_model(model)
        return model.id

    async def add_update(self, target: UploadTarget, form: Form, caller: Caller) -> None:
        """Take a participant's update into the open round.

        Raises:
            NotFound: the caller was not handed the local model that it was sent to.
            InvalidRequest: a field is wrong, or the round is not open.
            RefusedUpload: the file is no update of this model.
            Conflict: the caller delivered another update for this round.
        """
        fields = read_update(form)
        await self._add_update(target, fields, form.file("model_file"), caller, "model_file")

    async def add_native_update(
        self, target: UploadTarget, fields: UploadedUpdate, staged: Staged, caller: Caller
    ) -> None:
        """Take an update that was the whole body into the open round. Raises as `add_update`."""
        await self._add_update(target, fields, staged, caller, "body")

    async def _add_update(
        self,
        target: UploadTarget,
        fields: UploadedUpdate,
        staged: Staged,
        caller: Caller,
        field: str,
    ) -> None:
        training = target.training
        await target.require_handed(caller, fields.round)
        update = NewUpdate(
            training_id=training.id,
            owner=caller.id,
            round=fields.round,
            sample_size=fields.sample_size,
            upload=staged,
            metrics=fields.metrics,
        )
        if await self._coordinator.foresee_update(update):
            return
        base = await base_key(training.model, fields.round)
        async with self._weights.flushed(staged):
            with refusing(field, "Invalid model file"):
                await self._gateway.check_update(CheckUpdate(key=staged.key, base_key=base))
        await self._coordinator.accept_update(update)

    async def add_moments(self, target: UploadTarget, form: Form, caller: Caller) -> None:
        """Take a participant's SWAG moments into the open SWAG round. Raises as `add_update`."""
        training = target.training
        fields = read_moments(form)
        first, second = form.file("first_moment_file"), form.file("second_moment_file")
        moments = NewMoments(
            training_id=training.id,
            owner=caller.id,
            round=fields.round,
            sample_size=fields.sample_size,
            first=first,
            second=second,
        )
        if await self._coordinator.foresee_moments(moments):
            return
        base = await base_key(training.model, fields.round)
        with refusing("first_moment_file", "Invalid moments"):
            await self._gateway.check_moments(
                CheckMoments(first_key=first.key, second_key=second.key, base_key=base)
            )
        await self._coordinator.accept_moments(moments)

    async def set_preprocessing(self, model: GlobalModel, form: Form) -> None:
        """Give a global model a preprocessing module, instead of the one it has.

        Raises:
            NotFound: the model was deleted meanwhile.
            RefusedUpload: the file is no preprocessing module.
        """
        form.require_only(())
        staged = form.file("model_preprocessing_file")
        with refusing("model_preprocessing_file", "Invalid preprocessing file"):
            await self._gateway.check_preprocessing(CheckPreprocessing(key=staged.key))
        async with self._weights.recorded(staged), self._database.write_transaction():
            locked = await lock_model(model.id)
            await GlobalModel.update({GlobalModel.preprocessing_digest: staged.digest}).where(
                GlobalModel.id == model.id
            )
        if locked.preprocessing_digest:
            await self._weights.drop([locked.preprocessing_digest])


@contextmanager
def refusing(field: str, prefix: str) -> Iterator[None]:
    """Compute's rejection of an upload, as the refusal of a form field."""
    try:
        yield
    except Rejected as rejected:
        detail = f"{prefix}: {rejected.detail}"
        raise RefusedUpload(detail, errors={field: [detail]}) from rejected


async def _own_members(ids: Sequence[UUID], caller: Caller) -> list[GlobalModel]:
    """The members in the order given. Raises `InvalidRequest`."""
    if not ids:
        raise InvalidRequest.field("models", "Name at least one model.")
    found = {m.id: m for m in await GlobalModel.objects().where(GlobalModel.id.is_in(list(ids)))}
    if len(found) != len(ids):
        message = "Invalid model UUIDs found."
        raise InvalidRequest(message, errors={"models": [message]})
    members = [found[model_id] for model_id in ids]
    if any(member.owner != caller.id for member in members):
        message = "Invalid model selection. Insufficient model permissions."
        raise InvalidRequest(message, errors={"models": [message]})
    if any(member.kind == "MEAN" for member in members):
        raise InvalidRequest.field("models", "A mean model cannot be a member of another.")
    return members
