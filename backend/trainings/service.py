"""Use cases of trainings."""

from collections.abc import Collection
from uuid import UUID, uuid4

import msgspec

from backend.audit.events import AuditKind, record
from backend.db.bulk import insert_all
from backend.db.engine import Database
from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Participant,
    Training,
    User,
    training_key,
)
from backend.errors import InvalidRequest, NotAllowed, NotFound
from backend.metrics.series import TrainingMetrics, metrics_of
from backend.models.access import Relation
from backend.models.presentation import global_json, local_json
from backend.models.records import insert_model, lock_model
from backend.models.schemas import AnyModelJson
from backend.rounds.coordinator import Coordinator
from backend.security.caller import Caller
from backend.security.ids import parse_id
from backend.security.presence import Presence
from backend.trainings.options import parse_options
from backend.trainings.overview import is_party, overview_of
from backend.trainings.presentation import progress_jsons, training_jsons
from backend.trainings.progress import board, course
from backend.trainings.schemas import (
    CreateTraining,
    Overview,
    ParticipantJson,
    RoundJson,
    TrainingJson,
    TrainingProgress,
    UncertaintyMethod,
)
from backend.trainings.standing import current_rounds

FORBIDDEN = "You do not have permission to perform this action."


class TrainingService:
    """Sets trainings up, shows them, and passes what changes their course to the coordinator."""

    def __init__(
        self, *, database: Database, coordinator: Coordinator, presence: Presence, base_url: str
    ) -> None:
        self._database = database
        self._coordinator = coordinator
        self._presence = presence
        self._base_url = base_url

    async def create(self, order: CreateTraining, caller: Caller) -> UUID:
        """The id of the new training, in state INITIAL.

        Raises:
            NotFound: there is no such model.
            NotAllowed: the model is not the caller's own.
            InvalidRequest: a client is unknown or given twice, or an option is wrong.
        """
        options = parse_options(order.options)
        if "daisy_chain_period" in order.options and order.aggregation_method != "FedDC":
            raise InvalidRequest.field("options", "daisy_chain_period is an option of FedDC.")
        model = await GlobalModel.objects().get(GlobalModel.id == order.model_id)
        if model is None:
            await _refuse_local(order.model_id)
            raise NotFound("Model", order.model_id)
        if model.owner != caller.id:
            raise NotAllowed("You are not the owner of the model!")
        _require_fitting(model, order.uncertainty_method)
        await _require_users(order.clients)
        training_id = uuid4()
        async with self._database.write_transaction():
            # Locks the model, so that of two trainings made at once only one takes it as it is.
            model = await lock_model(model.id)
            # A training counts its rounds from 0, so a model with a past is copied too.
            if model.round != 0 or await Training.exists().where(Training.model == model.id):
                model = _copy(model)
                await insert_model(model)
            await Training.insert(
                Training(
                    id=training_id,
                    actor=caller.id,
                    model=model.id,
                    target_num_updates=order.target_num_updates * options.daisy_chain_period,
                    aggregation_method=order.aggregation_method,
                    uncertainty_method=order.uncertainty_method,
                    options=msgspec.json.encode(order.options).decode(),
                    metric_names=msgspec.json.encode(order.metric_names).decode(),
                )
            )
            await insert_all(
                Participant,
                (
                    Participant(key=training_key(training_id, c), training=training_id, user=c)
                    for c in order.clients
                ),
            )
            await record(
                AuditKind.TRAINING_CREATED,
                training_id,
                who=caller.id,
                model=model.id,
                model_digest=model.digest,
                aggregation_method=order.aggregation_method,
                uncertainty_method=order.uncertainty_method,
                target_num_updates=order.target_num_updates * options.daisy_chain_period,
                options=order.options,
                participants=order.clients,
            )
        return training_id

    async def list_run(self, caller: Caller) -> list[TrainingJson]:
        """Trainings that the caller runs."""
        trainings = (
            await Training.objects()
            .where(Training.actor == caller.id)
            .order_by(Training.created_at)
        )
        return await training_jsons(trainings)

    async def list_joined(self, caller: Caller) -> list[TrainingJson]:
        """Trainings that the caller runs or takes part in."""
        trainings = await Training.objects().where(is_party(caller)).order_by(Training.created_at)
        return await training_jsons(trainings)

    async def get(self, given_id: str, caller: Caller) -> TrainingProgress:
        """One training with its progress. Raises `NotFound` or `NotAllowed`."""
        training = await _find(given_id, caller, Relation.ACTOR | Relation.PARTICIPANT)
        rounds = await current_rounds([training])
        shown = (await progress_jsons([training], rounds)).get(training.id)
        if shown is None:
            raise NotFound("Training", given_id)
        return shown

    async def overview(self, caller: Caller, *, limit: int) -> Overview:
        """The trainings that the caller runs or takes part in, the most recently active first."""
        async with self._database.read_snapshot():
            return await overview_of(caller, limit=limit)

    async def participants(self, given_id: str, caller: Caller) -> list[ParticipantJson]:
        """Who takes part and what is awaited of them; a participant sees only themselves.

        Raises `NotFound` or `NotAllowed`.
        """
        training = await _find(given_id, caller, Relation.ACTOR | Relation.PARTICIPANT)
        only = None if training.actor == caller.id else caller.id
        return await board(training, only, self._presence)

    async def rounds(self, given_id: str, caller: Caller, *, since: int) -> list[RoundJson]:
        """Every round so far from `since` on; figures of updates are the actor's to see.

        Raises `NotFound` or `NotAllowed`.
        """
        training = await _find(given_id, caller, Relation.ACTOR | Relation.PARTICIPANT)
        only = None if training.actor == caller.id else caller.id
        return await course(training, only, since=since)

    async def metrics(self, given_id: str, caller: Caller) -> TrainingMetrics:
        """What was measured in its rounds, as far as the caller may see it.

        Raises `NotFound` or `NotAllowed`.
        """
        training = await _find(given_id, caller, Relation.ACTOR | Relation.PARTICIPANT)
        return await metrics_of(training, caller)

    async def register(self, given_id: str, clients: list[UUID], caller: Caller) -> None:
        """Make users participants. Raises `NotFound`, `NotAllowed` or `InvalidRequest`."""
        training = await _find(given_id, caller, Relation.ACTOR)
        await _require_users(list(dict.fromkeys(clients)))
        await self._coordinator.register(training.id, clients, caller.id)

    async def remove(self, given_id: str, clients: list[UUID], caller: Caller) -> None:
        """End the participation of users; participants may only remove themselves.

        Raises `NotFound` or `NotAllowed`.
        """
        training = await _find(given_id, caller, Relation.ACTOR | Relation.PARTICIPANT)
        if training.actor != caller.id and set(clients) - {caller.id}:
            raise NotAllowed(FORBIDDEN)
        await self._coordinator.remove(training.id, clients, caller.id)

    async def start(self, given_id: str, caller: Caller) -> None:
        """Begin round 0. Raises `NotFound`, `NotAllowed`, `InvalidRequest` or `WrongState`."""
        training = await _find(given_id, caller, Relation.ACTOR)
        await self._coordinator.start(training.id, caller.id)

    async def pause(self, given_id: str, caller: Caller) -> None:
        """Ask participants for nothing new. Raises `NotFound`, `NotAllowed` or `WrongState`."""
        training = await _find(given_id, caller, Relation.ACTOR)
        await self._coordinator.pause(training.id, caller.id)

    async def resume(self, given_id: str, caller: Caller) -> None:
        """Go on after a pause. Raises `NotFound`, `NotAllowed` or `WrongState`."""
        training = await _find(given_id, caller, Relation.ACTOR)
        await self._coordinator.resume(training.id, caller.id)

    async def close_round(self, given_id: str, caller: Caller) -> None:
        """Wait for nobody else in the open round.

        Raises `NotFound`, `NotAllowed`, `WrongState` or `Conflict`.
        """
        training = await _find(given_id, caller, Relation.ACTOR)
        await self._coordinator.close_round(training.id, caller.id)

    async def abort(self, given_id: str, caller: Caller) -> None:
        """End the training as it is. Raises `NotFound`, `NotAllowed` or `WrongState`."""
        training = await _find(given_id, caller, Relation.ACTOR)
        await self._coordinator.abort(training.id, caller.id)

    async def delete(self, given_id: str, caller: Caller) -> None:
        """Remove the training, aborting it when it runs. Raises `NotFound` or `NotAllowed`."""
        training = await _find(
            given_id, caller, Relation.ACTOR, "You are not the owner the training."
        )
        await self._coordinator.delete(training.id, caller.id)

    async def models(self, given_id: str, caller: Caller, *, latest: bool) -> list[AnyModelJson]:
        """The global model, then the local models that the caller may see.

        The actor sees everybody's, a participant their own.

        Args:
            latest: Only the newest local model of each participant.

        Raises `NotFound` or `NotAllowed`.
        """
        training = await _find(given_id, caller, Relation.ACTOR | Relation.PARTICIPANT)
        model = await GlobalModel.objects().get(GlobalModel.id == training.model)
        query = LocalModel.objects().where(
            (LocalModel.training == training.id) & LocalModel.kept.eq(True)
        )
        if training.actor != caller.id:
            query = query.where(LocalModel.owner == caller.id)
        local_models = await query.order_by(LocalModel.received_at)
        if latest:
            local_models = list({m.owner: m for m in local_models}.values())
        shown = [] if model is None else [global_json(model, self._base_url)]
        return [*shown, *(local_json(m) for m in local_models)]


async def _find(
    given_id: str, caller: Caller, allowed: Relation, refusal: str = FORBIDDEN
) -> Training:
    """The training, if the caller is one of `allowed` to it."""
    training = await Training.objects().get(Training.id == parse_id("Training", given_id))
    if training is None:
        raise NotFound("Training", given_id)
    if Relation.ACTOR in allowed and training.actor == caller.id:
        return training
    if Relation.PARTICIPANT in allowed and await Participant.exists().where(
        Participant.key == training_key(training.id, caller.id)
    ):
        return training
    raise NotAllowed(refusal)


def _require_fitting(model: GlobalModel, method: UncertaintyMethod) -> None:
    """Raises `InvalidRequest` for an uncertainty method that the model cannot do."""
    needed = {"SWAG": "SWAG", "ENSEMBLE": "MEAN"}.get(method)
    if needed is not None and model.kind != needed:
        raise InvalidRequest.field(
            "uncertainty_method", f"{method} needs a model of type {needed}, not {model.kind}."
        )
    if model.kind == "MEAN" and method != "ENSEMBLE":
        raise InvalidRequest.field(
            "model_id", "A mean model cannot be trained; it predicts, with ENSEMBLE."
        )


async def _refuse_local(model_id: UUID) -> None:
    if await LocalModel.exists().where(LocalModel.id == model_id):
        raise InvalidRequest.field(
            "model_id", "A local model cannot be trained; upload it as a global model."
        )


async def _require_users(ids: Collection[UUID]) -> None:
    found = await User.count().where(User.id.is_in(list(ids))) if ids else 0
    if found != len(ids):
        message = "Not all provided users were found!"
        raise InvalidRequest(message, errors={"clients": [message]})


def _copy(model: GlobalModel) -> GlobalModel:
    """A new model with the same weights, at round 0."""
    return GlobalModel(
        id=uuid4(),
        kind=model.kind,
        owner=model.owner,
        name=model.name,
        description=model.description,
        input_shape=model.input_shape,
        round=0,
        format=model.format,
        digest=model.digest,
        size_bytes=model.size_bytes,
        preprocessing_digest=model.preprocessing_digest,
        members=model.members,
        num_parameters=model.num_parameters,
        stats=model.stats,
    )
