"""Indexes over two columns, which Piccolo's tables cannot declare.

Without them PostgreSQL walks the primary key past the rows of everybody else.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from backend.db.tables import AuditEvent

ID = "2026-11-23T10:15:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "indexes for what is read in order of id, by training or recipient"

INDEXES = (
    "audit_event_in_order ON audit_event (training, id)",
    "notification_in_order ON notification (recipient, id)",
    "metric_by_step ON metric (model, step)",
)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="starling", description=DESCRIPTION)

    async def make_indexes() -> None:
        for index in INDEXES:
            await AuditEvent.raw(f"CREATE INDEX IF NOT EXISTS {index}")

    manager.add_raw(make_indexes)
    return manager
