"""Who a caller is to a model, and the models themselves by id."""

from enum import Flag, auto
from uuid import UUID

import msgspec

from backend.db.tables import (
    GlobalModel,
    LocalModel,
    Participant,
    Round,
    Training,
    training_key,
)
from backend.errors import NotAllowed, NotFound, NothingHere
from backend.rounds.records import current_round, handed_on, require_participant
from backend.rounds.state import RUNNING
from backend.security.authentication import Caller
from backend.security.ids import parse_id


class Relation(Flag):
    """What a caller is to a model or training.

    HANDED: the participant who continues this local model in the open round of a daisy chain.
    """

    NONE = 0
    OWNER = auto()
    ACTOR = auto()
    PARTICIPANT = auto()
    HANDED = auto()
    SUPERUSER = auto()


class FoundModel(msgspec.Struct, frozen=True):
    """A model with its training, if it has one, and what the caller is to it."""

    model: GlobalModel | LocalModel
    training: Training | None
    relation: Relation

    def require(self, allowed: Relation, message: str = "This model is not yours to see.") -> None:
        """Raises `NotAllowed` unless the caller is one of `allowed`."""
        if not self.relation & allowed:
            raise NotAllowed(message)


# A local model tells much about its owner's data, so other participants never see it, except the
# one who is to continue it.
MAY_READ_GLOBAL = Relation.OWNER | Relation.ACTOR | Relation.PARTICIPANT | Relation.SUPERUSER
MAY_READ_LOCAL = Relation.OWNER | Relation.ACTOR | Relation.HANDED | Relation.SUPERUSER
MAY_DELETE = Relation.OWNER | Relation.ACTOR


async def find_model(given_id: str, caller: Caller) -> FoundModel:
    """A global or local model. Raises `NotFound`."""
    model_id = parse_id("Model", given_id)
    if (local := await LocalModel.objects().get(LocalModel.id == model_id)) is not None:
        training = await Training.objects().get(Training.id == local.training)
        relation = await _relation(local.owner, training, caller)
        if training is not None and await _is_handed(local.id, training, caller):
            relation |= Relation.HANDED
        return FoundModel(local, training, relation)
    return await _find_global(model_id, "Model", given_id, caller)


async def find_global_model(given_id: str, caller: Caller) -> FoundModel:
    """A global model. Raises `NotFound`, for a local one too."""
    return await _find_global(parse_id("GlobalModel", given_id), "GlobalModel", given_id, caller)


class UploadTarget(msgspec.Struct, frozen=True):
    """The training that an upload is for, and the local model whose id it was sent to, if any."""

    training: Training
    given_id: str
    local_model_id: UUID | None = None

    async def require_handed(self, caller: Caller, index: int) -> None:
        """Raises `NotFound` unless the caller was handed the local model in round `index`.

        In a closed round too, so that a repeated upload is recognised as one.
        """
        if self.local_model_id is None:
            return
        row = await Round.objects().get(Round.key == training_key(self.training.id, index))
        if row is None or handed_on(row).get(caller.id) != self.local_model_id:
            raise NotFound("GlobalModel", self.given_id)


async def find_upload_target(given_id: str, caller: Caller) -> UploadTarget:
    """The training that takes uploads under this id: of a global or of a handed-on local model.

    Raises:
        NotFound: no such model.
        NothingHere: the model is not being trained.
        NotAllowed: the caller does not take part.
    """
    model_id = parse_id("GlobalModel", given_id)
    local = await LocalModel.objects().get(LocalModel.id == model_id)
    if local is None:
        training = (await find_global_model(given_id, caller)).training
    else:
        training = await Training.objects().get(Training.id == local.training)
    if training is None:
        raise NothingHere(f"Model with ID {given_id} does not have a training process running")
    if local is not None and not await _takes_part(training, caller):
        raise NotFound("GlobalModel", given_id)
    await require_participant(training.id, caller.id)
    return UploadTarget(training, given_id, None if local is None else model_id)


async def find_own_global(given_id: str, caller: Caller) -> GlobalModel:
    """A global model of the caller. Raises `NotFound` or `NotAllowed`."""
    found = await find_global_model(given_id, caller)
    found.require(Relation.OWNER, f"You are not the owner of model {given_id}!")
    if not isinstance(found.model, GlobalModel):
        raise NotFound("GlobalModel", given_id)
    return found.model


async def find_readable(given_id: str, caller: Caller) -> FoundModel:
    """A model that the caller may read. Raises `NotFound` or `NotAllowed`."""
    found = await find_model(given_id, caller)
    is_local = isinstance(found.model, LocalModel)
    found.require(MAY_READ_LOCAL if is_local else MAY_READ_GLOBAL)
    return found


async def _find_global(model_id: UUID, noun: str, given_id: str, caller: Caller) -> FoundModel:
    model = await GlobalModel.objects().get(GlobalModel.id == model_id)
    if model is None:
        raise NotFound(noun, given_id)
    training = await Training.objects().get(Training.model == model_id)
    return FoundModel(model, training, await _relation(model.owner, training, caller))


async def _takes_part(training: Training, caller: Caller) -> bool:
    key = training_key(training.id, caller.id)
    return await Participant.exists().where(Participant.key == key)


async def _is_handed(local_model_id: UUID, training: Training, caller: Caller) -> bool:
    if training.state not in RUNNING or not await _takes_part(training, caller):
        return False
    handed = handed_on(await current_round(training))
    return handed.get(caller.id) == local_model_id


async def _relation(owner: UUID, training: Training | None, caller: Caller) -> Relation:
    relation = Relation.SUPERUSER if caller.superuser else Relation.NONE
    if owner == caller.id:
        relation |= Relation.OWNER
    if training is not None:
        if training.actor == caller.id:
            relation |= Relation.ACTOR
        if await _takes_part(training, caller):
            relation |= Relation.PARTICIPANT
    return relation
