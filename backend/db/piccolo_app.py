"""What Piccolo needs to find our tables and migrations."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from backend.db.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="starling",
    migrations_folder_path=str(Path(__file__).parent / "migrations"),
    table_classes=list(TABLES),
)
