"""Who a caller is to a model, and the models themselves by id."""

from enum import Flag, auto
from uuid import UUID

import msgspec

from backend.db.tables import GlobalModel, Round, Training, training_key
from backend.errors import NotAllowed, NotFound, NothingHere
from backend.rounds.records import handed_on, not_a_participant
from backend.rounds.state import RUNNING
from backend.security.caller import Caller
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


class ModelSummary(msgspec.Struct, frozen=True):
    """What most requests need of a model and of its training.

    Attributes:
        kind: LOCAL, or the kind of a global one.
        kept: Whether its weights are there; those of a global one always are.
        base_model: The global model that a local one was made of; a global one itself.
        training, actor, state, training_round: None when it has no training.
        takes_part: Whether who asks takes part in the training.
    """

    id: UUID
    kind: str
    owner: UUID
    round: int
    digest: str
    kept: bool
    base_model: UUID
    training: UUID | None
    actor: UUID | None
    state: str | None
    training_round: int | None
    takes_part: bool

    @property
    def is_local(self) -> bool:
        """Whether it is a participant's update."""
        return self.kind == "LOCAL"


# One statement, and not through the query builder, which would be most of what passes before the
# first byte of a model. Its columns are those of `ModelSummary`, which checks their types.
_SUMMARY = """
SELECT m.id, m.kind, m.owner, m.round, m.digest, m.kept, m.base_model, m.training,
       t.actor, t.state, t.round AS training_round,
       EXISTS (
           SELECT 1 FROM participant p WHERE p.training = t.id AND p."user" = {}
       ) AS takes_part
FROM (
    SELECT g.id, g.kind, g.owner, g.round, g.digest, TRUE AS kept, g.id AS base_model,
           (SELECT id FROM training WHERE model = g.id) AS training
    FROM global_model g WHERE g.id = {}
    UNION ALL
    SELECT l.id, 'LOCAL', l.owner, l.round, l.digest, l.kept, l.base_model, l.training
    FROM local_model l WHERE l.id = {}
) m LEFT JOIN training t ON t.id = m.training
"""


class FoundModel(msgspec.Struct, frozen=True):
    """A model and what the caller is to it."""

    model: ModelSummary
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
    return await _find("Model", given_id, caller)


async def find_global_model(given_id: str, caller: Caller) -> FoundModel:
    """A global model. Raises `NotFound`, for a local one too."""
    found = await _find("GlobalModel", given_id, caller)
    if found.model.is_local:
        raise NotFound("GlobalModel", given_id)
    return found


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
    model = await _summary("GlobalModel", given_id, caller)
    training = await Training.objects().get(Training.id == model.training)
    if training is None:
        raise NothingHere(f"Model with ID {given_id} does not have a training process running")
    if not model.takes_part:
        if model.is_local:
            raise NotFound("GlobalModel", given_id)
        raise not_a_participant(training.id)
    return UploadTarget(training, given_id, model.id if model.is_local else None)


async def find_own_global(given_id: str, caller: Caller) -> GlobalModel:
    """A global model of the caller. Raises `NotFound` or `NotAllowed`."""
    found = await find_global_model(given_id, caller)
    found.require(Relation.OWNER, f"You are not the owner of model {given_id}!")
    return await global_model_of(found.model)


async def global_model_of(model: ModelSummary) -> GlobalModel:
    """The row of a global model, for a local one that of its base. Raises `NotFound`."""
    row = await GlobalModel.objects().get(GlobalModel.id == model.base_model)
    if row is None:
        raise NotFound("Model", model.base_model)
    return row


async def find_readable(given_id: str, caller: Caller) -> FoundModel:
    """A model that the caller may read. Raises `NotFound` or `NotAllowed`."""
    found = await find_model(given_id, caller)
    found.require(MAY_READ_LOCAL if found.model.is_local else MAY_READ_GLOBAL)
    return found


async def _find(noun: str, given_id: str, caller: Caller) -> FoundModel:
    model = await _summary(noun, given_id, caller)
    return FoundModel(model, await _relation(model, caller))


async def _summary(noun: str, given_id: str, caller: Caller) -> ModelSummary:
    model_id = parse_id(noun, given_id)
    rows = await GlobalModel.raw(_SUMMARY, caller.id, model_id, model_id)
    if not rows:
        raise NotFound(noun, given_id)
    # SQLite's truth is a number.
    return msgspec.convert(rows[0], ModelSummary, strict=False)


async def _relation(model: ModelSummary, caller: Caller) -> Relation:
    relation = Relation.SUPERUSER if caller.superuser else Relation.NONE
    if model.owner == caller.id:
        relation |= Relation.OWNER
    if model.actor == caller.id:
        relation |= Relation.ACTOR
    if model.takes_part:
        relation |= Relation.PARTICIPANT
    if await _is_handed(model, caller):
        relation |= Relation.HANDED
    return relation


async def _is_handed(model: ModelSummary, caller: Caller) -> bool:
    if not (model.is_local and model.takes_part and model.training and model.state in RUNNING):
        return False
    key = training_key(model.training, model.training_round)
    row = await Round.objects().get(Round.key == key)
    return row is not None and handed_on(row).get(caller.id) == model.id
