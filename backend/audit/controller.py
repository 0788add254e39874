"""The audit log over HTTP: pages in JSON, all of it as JSON Lines, what comes as a stream."""

from typing import Annotated, Literal, cast

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage, Stream

from backend.audit.events import AuditKind
from backend.audit.feed import AuditFeed
from backend.audit.log import LoggedEvent, Reader, Span, events_in, find_reader, lines_in
from backend.audit.schemas import AuditEventJson
from backend.event_streams import LastEventId, event_messages, start_of
from backend.openapi import JsonLinesAndEventsToo
from backend.paging import LARGEST_ID, AfterId, BeforeId
from backend.security.authentication import CallerRequest
from backend.security.content_negotiation import (
    JSON_LINES,
    wants_event_stream,
    wants_json_lines,
)
from backend.security.presence import Presence

MAX_EVENTS = 1_000
DEFAULT_EVENTS = 100
EVENT_TYPE = "audit"


@get(
    "/api/trainings/{training_id:str}/audit/",
    tags=("trainings",),
    json_lines=True,
    event_stream=True,
    operation_class=JsonLinesAndEventsToo,
)
async def audit_log(
    request: CallerRequest,
    training_id: FromPath[str],
    audit_feed: NamedDependency[AuditFeed],
    presence: NamedDependency[Presence],
    after: AfterId = 0,
    before: BeforeId = LARGEST_ID,
    newest: Annotated[
        bool, QueryParameter(description="Newest first, from the end; not of a stream.")
    ] = False,
    limit: Annotated[
        int | None,
        QueryParameter(
            ge=1,
            le=MAX_EVENTS,
            description=f"At most so many; by default {DEFAULT_EVENTS}, and all as JSON Lines; "
            "not of a stream.",
        ),
    ] = None,
    format: Annotated[
        Literal["json", "jsonl"] | None,
        QueryParameter(description="By default what the Accept header asks for."),
    ] = None,
    last_event_id: LastEventId = None,
) -> Response[list[AuditEventJson]]:
    """What happened to a training, oldest first, each event chained to the one before by its hash.

    `Accept: application/jsonl` makes it JSON Lines, which are streamed. `Accept: text/event-stream`
    makes it a stream of server-sent events that goes on with what happens: each has its id, `audit`
    as its type and the JSON as data. The actor and superusers see everything. A participant sees
    their own events and those of the training as a whole, without what these say about others. See
    docs/audit.md for how the digests are computed.
    """
    reader = await find_reader(training_id, request.user)
    span = Span(after=after, before=before, newest_first=newest)
    if format == "jsonl" or (format is None and wants_json_lines(request)):
        lines = Stream(lines_in(reader, span, limit=limit), media_type=JSON_LINES)
        return cast("Response[list[AuditEventJson]]", lines)
    if wants_event_stream(request):
        stream = ServerSentEvent(
            event_messages(
                audit_feed.subscribe(reader, after=start_of(after, last_event_id)),
                lambda event: _message(event, reader),
                alive=lambda: presence.seen(request.user.id),
                is_last=lambda event: event.kind == AuditKind.TRAINING_DELETED,
            )
        )
        return cast("Response[list[AuditEventJson]]", stream)
    return Response(await events_in(reader, span, limit=limit or DEFAULT_EVENTS))


def _message(event: LoggedEvent, reader: Reader) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        id=event.id, event=EVENT_TYPE, data=msgspec.json.encode(reader.shown(event))
    )
