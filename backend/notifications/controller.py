"""The feed over HTTP: long polls in JSON, streams of server-sent events."""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Annotated, cast
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from backend.errors import DatabaseUnavailable, InvalidRequest
from backend.notifications.feed import MAX_ITEMS, RESCAN_SECONDS, Feed, Subscription
from backend.notifications.outbox import FeedItem
from backend.openapi import EventStreamToo
from backend.paging import LARGEST_ID, AfterId
from backend.security.authentication import CallerRequest
from backend.security.content_negotiation import wants_event_stream
from backend.security.presence import Presence

logger = logging.getLogger(__name__)

LAST_EVENT_ID = "Last-Event-ID"
MAX_WAIT_SECONDS = 60
DEFAULT_ITEMS = 100
# Below the half minute after which some proxies cut a silent connection.
KEEP_ALIVE_SECONDS = 15.0
RECONNECT_AFTER_MILLISECONDS = 2000
# Reconnecting shows the credentials again, which may have been revoked.
LONGEST_STREAM_SECONDS = 600.0


@get(
    "/api/users/myself/notifications/",
    tags=("users",),
    event_stream=True,
    operation_class=EventStreamToo,
)
async def notifications(
    request: CallerRequest,
    feed: NamedDependency[Feed],
    presence: NamedDependency[Presence],
    after: AfterId = 0,
    wait: Annotated[
        int,
        QueryParameter(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="Seconds to wait when there is nothing yet; a stream always waits.",
        ),
    ] = 0,
    limit: Annotated[
        int, QueryParameter(ge=1, le=MAX_ITEMS, description="At most so many; not of a stream.")
    ] = DEFAULT_ITEMS,
    last_event_id: Annotated[
        str | None,
        HeaderParameter(
            name=LAST_EVENT_ID, description="Where a stream goes on; it counts more than `after`."
        ),
    ] = None,
) -> Response[list[FeedItem]]:
    """What the caller was told, oldest first; waits for more when there is nothing yet.

    `Accept: text/event-stream` makes it a stream of server-sent events, each with its id, the
    notification's type as the event's and the JSON as data. What is delivered stays here, and the
    same question has the same answer: remember the last id, and give it as `after`.
    """
    user = request.user.id
    if wants_event_stream(request):
        start = after if last_event_id is None else _parse_id(last_event_id)
        stream = ServerSentEvent(_events(feed, presence, user, start))
        return cast("Response[list[FeedItem]]", stream)
    with feed.subscribe(user, after=after) as subscription:
        listening = asyncio.create_task(_end_with_connection(request, subscription))
        try:
            return Response(await subscription.next(limit=limit, wait_seconds=wait))
        finally:
            listening.cancel()


def _parse_id(header: str) -> int:
    # Digits of other scripts, and more than an id has, are no id of ours.
    if not re.fullmatch("[0-9]{1,16}", header) or (number := int(header)) > LARGEST_ID:
        raise InvalidRequest.field(LAST_EVENT_ID, "Give the id of the last event, a whole number.")
    return number


async def _end_with_connection(request: CallerRequest, subscription: Subscription) -> None:
    """End the subscription when nobody listens any more."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    subscription.end()


async def _events(
    feed: Feed, presence: Presence, user: UUID, after: int
) -> AsyncIterator[ServerSentEventMessage]:
    """A stream for one user. It goes on while the database is away, and ends with the feed."""
    # Not all at once, where all began at once.
    ends_at = time.monotonic() + LONGEST_STREAM_SECONDS * random.uniform(0.8, 1.0)  # noqa: S311
    yield ServerSentEventMessage(retry=RECONNECT_AFTER_MILLISECONDS, data=None)
    with feed.subscribe(user, after=after) as subscription:
        while not subscription.ended and time.monotonic() < ends_at:
            presence.seen(user)
            try:
                items = await subscription.next(limit=MAX_ITEMS, wait_seconds=KEEP_ALIVE_SECONDS)
            except DatabaseUnavailable as error:
                logger.warning("a stream of notifications waits: %s", error)
                await asyncio.sleep(RESCAN_SECONDS)
                items = []
            if not items:
                yield ServerSentEventMessage(comment="still here", data=None)
            for item in items:
                yield ServerSentEventMessage(
                    id=item.id, event=item.notification_type, data=msgspec.json.encode(item)
                )
