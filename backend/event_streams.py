"""Streams of server-sent events: what all of them have in common."""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Annotated

from litestar.params import HeaderParameter
from litestar.response import ServerSentEventMessage

from backend.errors import DatabaseUnavailable, InvalidRequest
from backend.paging import LARGEST_ID
from backend.subscriptions import RESCAN_SECONDS, ItemT, Subscription

logger = logging.getLogger(__name__)

LAST_EVENT_ID = "Last-Event-ID"
# Below the half minute after which some proxies cut a silent connection.
KEEP_ALIVE_SECONDS = 15.0
RECONNECT_AFTER_MILLISECONDS = 2000
# Reconnecting shows the credentials again, which may have been revoked.
LONGEST_STREAM_SECONDS = 600.0
ITEMS_AT_ONCE = 500

LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name=LAST_EVENT_ID, description="Where a stream goes on; it counts more than `after`."
    ),
]


def start_of(after: int, last_event_id: str | None) -> int:
    """The id after which a stream begins. Raises `InvalidRequest` for a header that is none."""
    if last_event_id is None:
        return after
    # Digits of other scripts, and more than an id has, are no id of ours.
    number = int(last_event_id) if re.fullmatch("[0-9]{1,16}", last_event_id) else None
    if number is None or number > LARGEST_ID:
        raise InvalidRequest.field(LAST_EVENT_ID, "Give the id of the last event, a whole number.")
    return number


async def event_messages(
    subscribed: AbstractContextManager[Subscription[ItemT]],
    message_of: Callable[[ItemT], ServerSentEventMessage],
    *,
    alive: Callable[[], None],
    is_last: Callable[[ItemT], bool] = lambda _: False,
) -> AsyncIterator[ServerSentEventMessage]:
    """The messages of one stream. It goes on while the database is away, and ends with the feed.

    Args:
        alive: Called now and then as long as somebody listens.
        is_last: Whether nothing will follow an item.
    """
    # Not all at once, where all began at once.
    ends_at = time.monotonic() + LONGEST_STREAM_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311
    yield ServerSentEventMessage(retry=RECONNECT_AFTER_MILLISECONDS, data=None)
    with subscribed as subscription:
        while not subscription.ended and time.monotonic() < ends_at:
            alive()
            try:
                items = await subscription.next(
                    limit=ITEMS_AT_ONCE, wait_seconds=KEEP_ALIVE_SECONDS
                )
            except DatabaseUnavailable as error:
                logger.warning("a stream of events waits: %s", error)
                await asyncio.sleep(RESCAN_SECONDS)
                items = []
            if not items:
                yield ServerSentEventMessage(comment="still here", data=None)
            for item in items:
                yield message_of(item)
                if is_last(item):
                    return
