"""The migrations lead to the tables that the code declares."""

from pathlib import Path

from piccolo.apps.migrations.commands.new import AutoMigrationManager

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.piccolo_app import APP_CONFIG
from backend.db.tables import TABLES


async def test_no_table_or_column_lacks_a_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    database.bind()  # the comparison asks for the kind of database, not for its contents
    statements = await AutoMigrationManager().get_alter_statements(app_config=APP_CONFIG)
    changes = [line for statement in statements for line in statement.statements]
    assert changes == []


async def test_an_empty_database_gets_every_table_and_a_second_run_changes_nothing(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    await database.open()
    try:
        for _ in range(2):
            await migrate()
            for table in TABLES:
                assert await table.count() == 0
    finally:
        await database.close()
