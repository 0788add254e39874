"""PostgreSQL refuses what is longer than its column; SQLite lets it pass."""

from collections.abc import Iterable
from enum import StrEnum

import pytest
from piccolo.columns import Varchar

from backend.audit.events import AuditKind
from backend.db.tables import AuditEvent, GlobalModel, Notification, Round, Training
from backend.notifications.outbox import NotificationType
from backend.rounds.state import Phase, TrainingState
from compute.contract import ModelFormat, UncertaintyMethod


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Round.phase, Phase),
        (Training.state, TrainingState),
        (Training.uncertainty_method, UncertaintyMethod),
        (GlobalModel.format, ModelFormat),
        (Notification.type, NotificationType),
        (AuditEvent.kind, AuditKind),
    ],
    ids=["phase", "state", "method", "format", "notification", "audit"],
)
def test_every_value_fits_its_column(column: Varchar, values: Iterable[StrEnum]) -> None:
    assert max(len(value.value) for value in values) <= (column.length or 0)
