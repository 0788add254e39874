"""What is asked often has an index, and no row pays for one that nobody needs."""

import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.sqlite import DurableSQLite
from backend.db.tables import User
from backend.rounds.records import forget_updates


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[DurableSQLite]:
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    await database.open()
    assert isinstance(database.engine, DurableSQLite)
    try:
        await migrate()
        yield database.engine
    finally:
        await database.close()


@pytest.mark.usefixtures("engine")
async def test_no_index_is_the_beginning_of_another() -> None:
    indexes = await User.raw(
        "SELECT name, tbl_name FROM sqlite_master "
        # The partial one is small, and for what the others are too large.
        "WHERE type = 'index' AND name <> 'local_model_kept'"
    )
    columns = {
        row["name"]: (
            row["tbl_name"],
            *(part["name"] for part in await User.raw(f"PRAGMA index_info('{row['name']}')")),
        )
        for row in indexes
    }

    assert "audit_event_in_order" in columns
    assert [
        (name, other)
        for name, found in columns.items()
        for other, longer in columns.items()
        if name != other and longer[: len(found)] == found
    ] == []


async def test_what_a_round_forgets_is_found_among_what_is_kept(
    engine: DurableSQLite, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = engine._fetch
    plans: list[str] = []

    async def explaining(query: str, arguments: Sequence[object]) -> list[dict[str, object]]:
        plan = await fetch(f"EXPLAIN QUERY PLAN {query}", arguments)
        plans.extend(str(step["detail"]) for step in plan)
        return await fetch(query, arguments)

    monkeypatch.setattr(engine, "_fetch", explaining)
    assert await forget_updates(uuid.uuid4(), through_round=3) == []

    assert plans == [
        "SEARCH local_model USING INDEX local_model_kept (training=? AND round<?)",
    ]
