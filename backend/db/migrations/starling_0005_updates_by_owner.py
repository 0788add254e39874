"""An index by which the latest update of a participant is found, of many trainings at once."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from backend.db.tables import LocalModel

ID = "2026-11-28T03:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "index of updates by training, owner and round"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="starling", description=DESCRIPTION)

    async def make_index() -> None:
        await LocalModel.raw(
            "CREATE INDEX IF NOT EXISTS local_model_by_owner "
            "ON local_model (training, owner, round)"
        )

    manager.add_raw(make_index)
    return manager
