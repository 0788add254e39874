"""Delivers waiting notifications to webhooks: at least once, in order per recipient.

One task per recipient with something waiting, so that a slow or dead endpoint delays nobody else. A
failed delivery is tried again after a pause that doubles, with jitter; what tells about a training
that ended long ago is given up. Nothing here is remembered: a new process starts from the outbox.
"""

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import httpx

from backend.db.engine import Database
from backend.db.tables import Notification, Training, User
from backend.notifications.outbox import payload
from backend.rounds.state import RUNNING
from backend.security.webhook_targets import CheckedTransport, WebhookPolicy

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
# An endpoint that dribbles never runs into the timeout of a single read.
DELIVERY_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
GIVE_UP_AFTER = timedelta(hours=1)
RESCAN_SECONDS = 5.0
MAX_CONNECTIONS = 200


class Pusher:
    """Runs until cancelled; `wake` makes it look at the outbox at once."""

    def __init__(self, database: Database, webhooks: WebhookPolicy) -> None:
        self._database = database
        self._webhooks = webhooks
        self._woken = asyncio.Event()
        self._deliveries: dict[UUID, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Something was committed to the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver what waits, for ever."""
        transport = CheckedTransport(self._webhooks, max_connections=MAX_CONNECTIONS)
        async with httpx.AsyncClient(
            transport=transport, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        ) as client:
            try:
                while True:
                    self._woken.clear()
                    await self._start_deliveries(client)
                    try:
                        await asyncio.wait_for(self._woken.wait(), RESCAN_SECONDS)
                    except TimeoutError:
                        continue
            finally:
                for task in self._deliveries.values():
                    task.cancel()
                await asyncio.gather(*self._deliveries.values(), return_exceptions=True)

    async def _start_deliveries(self, client: httpx.AsyncClient) -> None:
        try:
            rows = (
                await Notification.select(Notification.recipient)
                .where(Notification.waiting.eq(True))
                .group_by(Notification.recipient)
            )
        except Exception:
            # The database may be away for a while; the next scan is a few seconds off.
            logger.exception("the outbox cannot be read")
            return
        for row in rows:
            recipient: UUID = row["recipient"]
            if recipient not in self._deliveries:
                task = asyncio.create_task(self._deliver_all(client, recipient))
                self._deliveries[recipient] = task
                task.add_done_callback(partial(self._delivered, recipient))

    def _delivered(self, recipient: UUID, task: asyncio.Task[None]) -> None:
        del self._deliveries[recipient]
        if not task.cancelled() and (error := task.exception()) is not None:
            # The next scan tries again; at once, it would be a flood.
            logger.error("delivery to %s stopped", recipient, exc_info=error)
            return
        # A notification may have been added between the last look and the end of the task.
        self.wake()

    async def _deliver_all(self, client: httpx.AsyncClient, recipient: UUID) -> None:
        pause = FIRST_PAUSE_SECONDS
        while (row := await _next_waiting(recipient)) is not None:
            failure = await _post(client, row)
            if failure is None:
                await self._settle(row, None)
                pause = FIRST_PAUSE_SECONDS
            elif await _is_outdated(row):
                logger.warning("notification %s is given up: %s", row["id"], failure)
                await self._settle(row, failure)
            else:
                await self._note_failure(row, failure)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _settle(self, row: dict[str, object], failure: str | None) -> None:
        async with self._database.write_transaction():
            await Notification.update(
                {Notification.waiting: False, Notification.last_error: failure}
            ).where(Notification.id == row["id"])

    async def _note_failure(self, row: dict[str, object], failure: str) -> None:
        logger.info("notification %s was not delivered: %s", row["id"], failure)
        async with self._database.write_transaction():
            await Notification.update(
                {
                    Notification.attempts: Notification.attempts + 1,
                    Notification.last_error: failure,
                }
            ).where(Notification.id == row["id"])


async def _next_waiting(recipient: UUID) -> dict[str, object] | None:
    """The recipient's oldest waiting notification, with their endpoint of now."""
    row: dict[str, object] | None = (
        await Notification.select()
        .where((Notification.recipient == recipient) & Notification.waiting.eq(True))
        .order_by(Notification.id)
        .first()
    )
    if row is not None:
        user = await User.select(User.message_endpoint).where(User.id == recipient).first()
        row["endpoint"] = user["message_endpoint"] if user else ""
    return row


async def _post(client: httpx.AsyncClient, row: dict[str, object]) -> str | None:
    """Why the notification did not arrive; None when it did."""
    headers = {
        "content-type": "application/json",
        "x-starling-notification-id": str(row["id"]),
        "x-starling-timestamp": str(int(datetime.now(UTC).timestamp())),
    }
    try:
        async with (
            asyncio.timeout(DELIVERY_SECONDS),
            client.stream(
                "POST", str(row["endpoint"]), content=payload(row), headers=headers
            ) as response,
        ):
            await _skip_body(response)
    except TimeoutError:
        return f"no complete answer within {DELIVERY_SECONDS:g} seconds"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None if response.is_success else f"answered {response.status_code}"


async def _skip_body(response: httpx.Response) -> None:
    """Read past a short body, so that the connection can be used again; a long one is cut off."""
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > MAX_ANSWER_BYTES:
            return


async def _is_outdated(row: dict[str, object]) -> bool:
    """Whether nobody needs the notification any more: old, and its training has ended."""
    created_at = row["created_at"]
    if isinstance(created_at, datetime) and datetime.now(UTC) - created_at < GIVE_UP_AFTER:
        return False
    return not await Training.exists().where(
        (Training.id == row["training"]) & Training.state.is_in([state.value for state in RUNNING])
    )
