"""Where compute workers report. Signed; no user may call it."""

import time

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.status_codes import HTTP_204_NO_CONTENT, HTTP_410_GONE

from backend.errors import InvalidRequest, NotAuthenticated, NotFound
from backend.rounds.coordinator import Coordinator
from compute.contract import (
    CALLBACK_PATH,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Callback,
    CallbackTarget,
    callback_is_genuine,
)


@post(CALLBACK_PATH, public=True, include_in_schema=False, status_code=HTTP_204_NO_CONTENT)
async def take_callback(
    request: Request[object, object, State],
    coordinator: NamedDependency[Coordinator],
    callback_target: NamedDependency[CallbackTarget],
) -> Response[None]:
    """204 once it is applied or was before; 410 when its training is gone."""
    body = await request.body()
    if not callback_is_genuine(
        callback_target.secret,
        request.headers.get(TIMESTAMP_HEADER, ""),
        body,
        request.headers.get(SIGNATURE_HEADER, ""),
        now=time.time(),
    ):
        raise NotAuthenticated("The callback's signature is missing, wrong or too old.")
    try:
        callback = msgspec.json.decode(body, type=Callback)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"This is no callback: {error}.") from error
    try:
        await coordinator.apply(callback)
    except NotFound:
        return Response(None, status_code=HTTP_410_GONE)
    return Response(None, status_code=HTTP_204_NO_CONTENT)
