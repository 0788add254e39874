"""What predictions need to know of models, read for all requests that come together."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

import msgspec

from backend.db.tables import GlobalModel


class Asked(NamedTuple):
    """A global model and who asks it."""

    model_id: UUID
    user_id: UUID


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it predicts; `kind` is LOCAL, or the kind of a global one.

    Attributes:
        structure_digest: Of a local model: the global model, whose module it is where the
            participant sent tensors alone.
        uncertainty_method: Of its training; None when it has none.
        options: Of its training, JSON.
        is_callers: Whether the caller owns it, or is actor or participant of its training.
    """

    kind: str
    digest: str
    input_shape: str | None
    preprocessing_digest: str | None
    structure_digest: str | None = None
    swag_first_digest: str | None = None
    swag_second_digest: str | None = None
    members: str | None = None
    uncertainty_method: str | None = None
    options: str = "{}"
    is_callers: bool = False


# In one statement, and not through the query builder, which would take longer than the rest of a
# request for a small model.
_SUBJECTS = """
SELECT m.id, m.owner, m.kind, m.digest, m.input_shape, m.preprocessing_digest,
       m.swag_first_digest, m.swag_second_digest, m.members,
       t.actor, t.uncertainty_method, t.options, p."user" AS participant
FROM global_model m
LEFT JOIN training t ON t.model = m.id
LEFT JOIN participant p ON p.training = t.id AND p."user" IN ({users})
WHERE m.id IN ({models})
"""


async def find_subjects(asked: Collection[Asked]) -> dict[Asked, Subject]:
    """The global models among those asked for, as their callers find them."""
    users = list({one.user_id for one in asked})
    models = list({one.model_id for one in asked})
    query = _SUBJECTS.format(users=_placeholders(users), models=_placeholders(models))
    rows: dict[UUID, dict[str, object]] = {}
    entitled: set[Asked] = set()
    # A row for each participant among the callers, or one without.
    for row in await GlobalModel.raw(query, *users, *models):
        rows[row["id"]] = row
        entitled.update(
            Asked(row["id"], user) for user in (row["owner"], row["actor"], row["participant"])
        )
    return {
        one: _subject(rows[one.model_id], is_callers=one in entitled)
        for one in asked
        if one.model_id in rows
    }


def _placeholders(values: Collection[UUID]) -> str:
    return ", ".join("{}" for _ in values)


def _subject(row: dict[str, object], *, is_callers: bool) -> Subject:
    fields = {
        name: row[name]
        for name in Subject.__struct_fields__
        if name in row and not (name == "options" and row[name] is None)
    }
    return msgspec.convert({**fields, "is_callers": is_callers}, Subject)
