"""What the reconciler does first when participants can deliver again."""

import asyncio
import contextlib
from datetime import datetime

import pytest

from backend.errors import DatabaseUnavailable
from backend.rounds import reconciler
from backend.rounds.reconciler import Reconciler
from compute.contract import ComputeHealth
from tests.waiting import wait_until

AWAY = DatabaseUnavailable("the database is away")


class Parts:
    """Stands for coordinator, aggregation and gateway: an outage at a chosen pass is the point."""

    def __init__(self, outages: list[Exception | None]) -> None:
        self.done: list[str] = []
        self._outages = outages

    async def health(self) -> ComputeHealth:
        return ComputeHealth(ready=True)

    async def grant_grace(self) -> None:
        self.done.append("grace")

    async def resume(self) -> None:
        outage = self._outages.pop(0) if self._outages else None
        if outage is not None:
            raise outage

    async def close_due(self) -> datetime | None:
        self.done.append("deadlines")
        return None


@pytest.mark.parametrize(
    ("outages", "done"),
    [
        ([None, None], ["grace", "deadlines", "deadlines"]),
        ([None, AWAY, None], ["grace", "deadlines", "grace", "deadlines"]),
    ],
    ids=["all is there", "the database was away"],
)
async def test_deadlines_are_postponed_before_they_are_handled_after_an_outage(
    monkeypatch: pytest.MonkeyPatch, outages: list[Exception | None], done: list[str]
) -> None:
    monkeypatch.setattr(reconciler, "INTERVAL_SECONDS", 0.001)
    parts = Parts(outages)
    running = asyncio.create_task(
        Reconciler(coordinator=parts, aggregation=parts, gateway=parts).run()  # type: ignore[arg-type]
    )

    await asyncio.to_thread(wait_until, lambda: len(parts.done) >= len(done), what="the passes")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running

    assert parts.done[: len(done)] == done
