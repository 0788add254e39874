"""Delivers waiting notifications to webhooks: at least once, in order per recipient.

One task per recipient with something waiting, so that a slow or dead endpoint delays nobody else. A
failed delivery is tried again after a pause that doubles, with jitter; what tells about a training
that ended long ago is given up. Nothing here is remembered: a new process starts from the outbox.
"""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import httpx
import msgspec
import stamina

from backend.db.engine import Database
from backend.db.tables import Notification, Training
from backend.errors import DatabaseUnavailable
from backend.notifications.feed import Feed
from backend.notifications.outbox import payload
from backend.notifications.webhooks import TIMEOUT_SECONDS, post
from backend.rounds.state import RUNNING
from backend.security.webhook_signatures import derive_webhook_secret
from backend.security.webhook_targets import WebhookPolicy
from backend.security.webhook_transport import CheckedTransport

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
JITTER_SECONDS = 1.0
GIVE_UP_AFTER = timedelta(hours=1)
RESCAN_SECONDS = 5.0
# Endpoints that have failed share few connections among them: a thousand dead ones leave room.
FIRST_ATTEMPTS_AT_ONCE = 200
REPEATS_AT_ONCE = 50


class Push(msgspec.Struct, frozen=True):
    """A waiting notification, with where it is to go as of now."""

    id: int
    recipient: UUID
    training: UUID
    type: str
    body: str
    created_at: datetime
    attempts: int
    endpoint: str
    generation: int


class _UndeliveredError(Exception):
    """This attempt failed; another is to be made."""


class Pusher:
    """Runs until cancelled; `wake` makes it, and the feed, look at the outbox at once."""

    def __init__(
        self, database: Database, webhooks: WebhookPolicy, *, secret: str, feed: Feed
    ) -> None:
        self._database = database
        self._webhooks = webhooks
        self._secret = secret
        self._feed = feed
        self._woken = asyncio.Event()
        self._deliveries: dict[UUID, asyncio.Task[None]] = {}
        self._first_attempts = asyncio.Semaphore(FIRST_ATTEMPTS_AT_ONCE)
        self._repeats = asyncio.Semaphore(REPEATS_AT_ONCE)

    def wake(self) -> None:
        """Something was committed to the outbox."""
        # Who waits is told before those who are called.
        self._feed.wake()
        self._woken.set()

    async def run(self) -> None:
        """Deliver what waits, for ever."""
        transport = CheckedTransport(
            self._webhooks, max_connections=FIRST_ATTEMPTS_AT_ONCE + REPEATS_AT_ONCE
        )
        async with httpx.AsyncClient(
            transport=transport, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        ) as client:
            try:
                while True:
                    self._woken.clear()
                    await self._start_deliveries(client)
                    # `wait_for` would, before Python 3.12, lose a cancellation that meets a wake.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RESCAN_SECONDS):
                            await self._woken.wait()
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
        except DatabaseUnavailable as error:
            # The next scan is a few seconds off.
            logger.warning("the outbox cannot be read: %s", error)
            return
        except Exception:
            # Nobody else would start this loop again.
            logger.exception("the outbox was not read")
            return
        for row in rows:
            recipient: UUID = row["recipient"]
            if recipient not in self._deliveries:
                task = asyncio.create_task(self._deliver_all(client, recipient))
                self._deliveries[recipient] = task
                task.add_done_callback(partial(self._delivered, recipient))

    def _delivered(self, recipient: UUID, task: asyncio.Task[None]) -> None:
        del self._deliveries[recipient]
        # After a failure the next scan tries again; at once, it would be a flood.
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, DatabaseUnavailable):
                logger.warning("deliveries to %s wait for the database: %s", recipient, error)
            else:
                logger.error("deliveries to %s stopped", recipient, exc_info=error)
            return
        # A notification may have been added between the last look and the end of the task.
        self._woken.set()

    async def _deliver_all(self, client: httpx.AsyncClient, recipient: UUID) -> None:
        while await self._deliver_next(client, recipient):
            pass

    async def _deliver_next(self, client: httpx.AsyncClient, recipient: UUID) -> bool:
        """Be done with the oldest that waits, however often it takes; whether there was one."""
        async for attempt in stamina.retry_context(
            on=_UndeliveredError,
            attempts=None,
            timeout=None,
            wait_initial=FIRST_PAUSE_SECONDS,
            wait_max=LONGEST_PAUSE_SECONDS,
            wait_jitter=JITTER_SECONDS,
        ):
            with attempt:
                return await self._try_next(client, recipient)
        raise AssertionError("stamina returns or raises")

    async def _try_next(self, client: httpx.AsyncClient, recipient: UUID) -> bool:
        # Read anew at each attempt: the endpoint or the token may have changed.
        push = await _next_waiting(recipient)
        if push is None:
            return False
        failure = await self._send(client, push)
        if failure is not None and not await _is_outdated(push):
            await self._note_failure(push, failure)
            raise _UndeliveredError(failure)
        if failure is not None:
            logger.warning("notification %s is given up: %s", push.id, failure)
        await self._settle(push, failure)
        return True

    async def _send(self, client: httpx.AsyncClient, push: Push) -> str | None:
        """Why it did not arrive; None also for who has cleared their endpoint: they have a feed."""
        if not push.endpoint:
            return None
        async with self._repeats if push.attempts else self._first_attempts:
            return await post(
                client,
                push.endpoint,
                payload(msgspec.structs.asdict(push)),
                message_id=str(push.id),
                webhook_secret=derive_webhook_secret(self._secret, push.recipient, push.generation),
                timestamp=int(datetime.now(UTC).timestamp()),
            )

    async def _settle(self, push: Push, failure: str | None) -> None:
        async with self._database.write_transaction():
            await Notification.update(
                {Notification.waiting: False, Notification.last_error: failure}
            ).where(Notification.id == push.id)

    async def _note_failure(self, push: Push, failure: str) -> None:
        logger.info("notification %s was not delivered: %s", push.id, failure)
        async with self._database.write_transaction():
            await Notification.update(
                {
                    Notification.attempts: Notification.attempts + 1,
                    Notification.last_error: failure,
                }
            ).where(Notification.id == push.id)


async def _next_waiting(recipient: UUID) -> Push | None:
    """The recipient's oldest waiting notification."""
    row = (
        await Notification.select(
            Notification.id,
            Notification.recipient,
            Notification.training,
            Notification.type,
            Notification.body,
            Notification.created_at,
            Notification.attempts,
            Notification.recipient.message_endpoint.as_alias("endpoint"),
            Notification.recipient.token_generation.as_alias("generation"),
        )
        .where((Notification.recipient == recipient) & Notification.waiting.eq(True))
        .order_by(Notification.id)
        .first()
    )
    return None if row is None else Push(**row)


async def _is_outdated(push: Push) -> bool:
    """Whether nobody needs the notification any more: old, and its training has ended."""
    if datetime.now(UTC) - push.created_at < GIVE_UP_AFTER:
        return False
    return not await Training.exists().where(
        (Training.id == push.training) & Training.state.is_in([state.value for state in RUNNING])
    )
