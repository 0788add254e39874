"""Brings a database to the schema of this version."""

import contextlib
import io
import logging

from piccolo.apps.migrations.commands.forwards import ForwardsMigrationManager
from piccolo.apps.migrations.tables import Migration

from backend.db.piccolo_app import APP_CONFIG
from backend.errors import StartupError

logger = logging.getLogger(__name__)


async def migrate() -> None:
    """Run the migrations that the bound database has not had yet.

    Raises:
        StartupError: the database was written by a newer version.
    """
    # Piccolo reports its progress on stdout, which belongs to the command that migrates.
    with contextlib.redirect_stdout(io.StringIO()) as report:
        manager = ForwardsMigrationManager(app_name=APP_CONFIG.app_name)
        await manager.create_migration_table()
        known = set(manager.get_migration_modules(APP_CONFIG.resolved_migrations_folder_path))
        applied = set(await Migration.get_migrations_which_ran(app_name=APP_CONFIG.app_name))
        if newer := sorted(applied - known):
            raise StartupError(
                f"The database has a newer schema ({newer[-1]}) than this version of Starling "
                "knows. Upgrade Starling, or use another database."
            )
        result = await manager.run_migrations(APP_CONFIG)
    logger.debug("migrations: %s", report.getvalue())
    if not result.success:
        raise StartupError(f"The database could not be migrated: {result.message}.")
