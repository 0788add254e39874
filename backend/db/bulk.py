"""Inserts of any number of rows; a statement takes 32,767 parameters at most."""

from collections.abc import Iterable

from piccolo.table import Table

ROWS_PER_STATEMENT = 500


async def insert_all(table: type[Table], rows: Iterable[Table]) -> None:
    """Insert the rows in order, in as many statements as it takes; none is fine."""
    pending = list(rows)
    for start in range(0, len(pending), ROWS_PER_STATEMENT):
        await table.insert(*pending[start : start + ROWS_PER_STATEMENT])
