"""The feed over HTTP: long polls in JSON, streams of server-sent events."""

import asyncio
from typing import Annotated, cast

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from backend.event_streams import LastEventId, event_messages, start_of
from backend.notifications.feed import MAX_ITEMS, Feed
from backend.notifications.outbox import FeedItem
from backend.openapi import EventStreamToo
from backend.paging import AfterId
from backend.security.authentication import CallerRequest
from backend.security.content_negotiation import wants_event_stream
from backend.security.presence import Presence
from backend.subscriptions import Subscription

MAX_WAIT_SECONDS = 60
DEFAULT_ITEMS = 100


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
    last_event_id: LastEventId = None,
) -> Response[list[FeedItem]]:
    """What the caller was told, oldest first; waits for more when there is nothing yet.

    `Accept: text/event-stream` makes it a stream of server-sent events, each with its id, the
    notification's type as the event's and the JSON as data. What is delivered stays here, and the
    same question has the same answer: remember the last id, and give it as `after`.
    """
    user = request.user.id
    if wants_event_stream(request):
        subscribed = feed.subscribe(user, after=start_of(after, last_event_id), waiting=True)
        stream = ServerSentEvent(
            event_messages(subscribed, _message, alive=lambda: presence.seen(user))
        )
        return cast("Response[list[FeedItem]]", stream)
    with feed.subscribe(user, after=after, waiting=wait > 0) as subscription:
        listening = asyncio.create_task(_end_with_connection(request, subscription))
        try:
            return Response(await subscription.next(limit=limit, wait_seconds=wait))
        finally:
            listening.cancel()


async def _end_with_connection(
    request: CallerRequest, subscription: Subscription[FeedItem]
) -> None:
    """End the subscription when nobody listens any more."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    subscription.end()


def _message(item: FeedItem) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        id=item.id, event=item.notification_type, data=msgspec.json.encode(item)
    )
