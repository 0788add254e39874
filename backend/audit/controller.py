"""The audit log over HTTP: pages in JSON, the whole of it as JSON Lines."""

from typing import Annotated, Literal, cast

from litestar import Response, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from backend.audit.log import events_after, find_reader, lines_after
from backend.audit.schemas import AuditEventJson
from backend.openapi import JsonLinesToo
from backend.paging import AfterId
from backend.security.authentication import CallerRequest
from backend.security.content_negotiation import JSON_LINES, wants_json_lines

MAX_EVENTS = 1_000
DEFAULT_EVENTS = 100


@get(
    "/api/trainings/{training_id:str}/audit/",
    tags=("trainings",),
    json_lines=True,
    operation_class=JsonLinesToo,
)
async def audit_log(
    request: CallerRequest,
    training_id: FromPath[str],
    after: AfterId = 0,
    limit: Annotated[
        int | None,
        QueryParameter(
            ge=1,
            le=MAX_EVENTS,
            description=f"At most so many; by default {DEFAULT_EVENTS}, and all as JSON Lines.",
        ),
    ] = None,
    format: Annotated[
        Literal["json", "jsonl"] | None,
        QueryParameter(description="By default what the Accept header asks for."),
    ] = None,
) -> Response[list[AuditEventJson]]:
    """What happened to a training, oldest first, each event chained to the one before by its hash.

    `Accept: application/jsonl` makes it JSON Lines, which are streamed. The actor and superusers
    see everything. A participant sees their own events and those of the training as a whole,
    without what these say about others. See docs/audit.md for how the digests are computed.
    """
    reader = await find_reader(training_id, request.user)
    if format == "jsonl" or (format is None and wants_json_lines(request)):
        stream = Stream(lines_after(reader, after, limit=limit), media_type=JSON_LINES)
        return cast("Response[list[AuditEventJson]]", stream)
    return Response(await events_after(reader, after, limit=limit or DEFAULT_EVENTS))
