"""Where Piccolo looks up the engine in use; `backend.db.engine.bind` sets it.

`PICCOLO_CONF=backend.db.piccolo_conf piccolo migrations new starling --auto` writes a migration;
it compares the tables with the last migration and needs no database.
"""

from piccolo.conf.apps import AppRegistry
from piccolo.engine.base import Engine
from piccolo.engine.postgres import PostgresTransaction
from piccolo.engine.sqlite import SQLiteEngine, SQLiteTransaction

DB: Engine[SQLiteTransaction] | Engine[PostgresTransaction] = SQLiteEngine(path=":memory:")
APP_REGISTRY = AppRegistry(apps=["backend.db.piccolo_app"])
