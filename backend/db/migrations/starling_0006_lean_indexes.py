"""An index for what every round asks, and none that only slows its rows down.

Four that go are the beginning of another one, made by 0003 and 0005; nobody asks for
notifications by training.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns.base import Column
from piccolo.columns.column_types import UUID, ForeignKey

from backend.db.tables import LocalModel

ID = "2026-11-28T18:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "partial index of updates that are kept; five indexes less"

DROPPED: tuple[tuple[str, str, str, type[Column]], ...] = (
    ("AuditEvent", "audit_event", "training", UUID),
    ("LocalModel", "local_model", "training", ForeignKey),
    ("Metric", "metric", "model", UUID),
    ("Notification", "notification", "recipient", ForeignKey),
    ("Notification", "notification", "training", UUID),
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="starling", description=DESCRIPTION)

    for class_name, table, column, column_class in DROPPED:
        manager.alter_column(
            table_class_name=class_name,
            tablename=table,
            column_name=column,
            db_column_name=column,
            params={"index": False},
            old_params={"index": True},
            column_class=column_class,
            old_column_class=column_class,
        )

    async def make_index() -> None:
        await LocalModel.raw(
            "CREATE INDEX IF NOT EXISTS local_model_kept ON local_model (training, round) "
            "WHERE kept"
        )

    manager.add_raw(make_index)
    return manager
