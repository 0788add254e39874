"""How each error of `backend.errors` is answered over HTTP."""

import logging
from enum import Enum
from typing import Literal, cast, get_args, get_origin

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.status_codes import (
    HTTP_400_BAD_REQUEST,
    HTTP_401_UNAUTHORIZED,
    HTTP_403_FORBIDDEN,
    HTTP_404_NOT_FOUND,
    HTTP_405_METHOD_NOT_ALLOWED,
    HTTP_406_NOT_ACCEPTABLE,
    HTTP_409_CONFLICT,
    HTTP_410_GONE,
    HTTP_412_PRECONDITION_FAILED,
    HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE,
    HTTP_423_LOCKED,
    HTTP_429_TOO_MANY_REQUESTS,
    HTTP_500_INTERNAL_SERVER_ERROR,
    HTTP_503_SERVICE_UNAVAILABLE,
    HTTP_507_INSUFFICIENT_STORAGE,
)

from backend.errors import (
    CONNECTION_BROKE,
    NO_CREDENTIALS,
    ChecksumMismatch,
    Conflict,
    DatabaseFull,
    DatabaseUnavailable,
    FieldErrors,
    Gone,
    InvalidRequest,
    LateUpdate,
    NotAcceptable,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    NothingHere,
    OutcomeUnknown,
    RangeNotSatisfiable,
    RefusedUpload,
    StarlingError,
    TooLarge,
    TooManyAttempts,
    UploadInUse,
    VersionNotSupported,
    WrongMediaType,
    WrongState,
)
from compute.blobs import BlobStoreFull, BlobStoreUnavailable
from compute.gateway import ComputeUnavailable

logger = logging.getLogger(__name__)

HTTP_460_CHECKSUM_MISMATCH = 460  # of the tus protocol; no registered status says it

STATUS: dict[type[StarlingError], int] = {
    InvalidRequest: HTTP_400_BAD_REQUEST,
    NotFound: HTTP_400_BAD_REQUEST,
    RefusedUpload: HTTP_400_BAD_REQUEST,
    WrongState: HTTP_400_BAD_REQUEST,
    NotAuthenticated: HTTP_401_UNAUTHORIZED,
    NotAllowed: HTTP_403_FORBIDDEN,
    NothingHere: HTTP_404_NOT_FOUND,
    Conflict: HTTP_409_CONFLICT,
    LateUpdate: HTTP_409_CONFLICT,
    Gone: HTTP_410_GONE,
    TooLarge: HTTP_413_REQUEST_ENTITY_TOO_LARGE,
    WrongMediaType: HTTP_415_UNSUPPORTED_MEDIA_TYPE,
    NotAcceptable: HTTP_406_NOT_ACCEPTABLE,
    TooManyAttempts: HTTP_429_TOO_MANY_REQUESTS,
    RangeNotSatisfiable: HTTP_416_REQUESTED_RANGE_NOT_SATISFIABLE,
    VersionNotSupported: HTTP_412_PRECONDITION_FAILED,
    UploadInUse: HTTP_423_LOCKED,
    ChecksumMismatch: HTTP_460_CHECKSUM_MISMATCH,
}

_FULL = (
    HTTP_507_INSUFFICIENT_STORAGE,
    "The server has no space left; nothing was stored. Tell its operator.",
)

# Nobody's mistake (`backend.errors.OUTAGES`). Details go to the log. The first that fits.
OUTAGE_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    ComputeUnavailable: (
        HTTP_503_SERVICE_UNAVAILABLE,
        "The compute cluster takes no work at the moment; nothing was stored. Try again soon.",
    ),
    BlobStoreUnavailable: (
        HTTP_503_SERVICE_UNAVAILABLE,
        "The blob store does not answer at the moment; nothing was stored. Try again soon.",
    ),
    BlobStoreFull: _FULL,
    DatabaseFull: _FULL,
    OutcomeUnknown: (
        HTTP_503_SERVICE_UNAVAILABLE,
        "The database went away while it stored this; whether it did is not known. Send it again.",
    ),
    DatabaseUnavailable: (
        HTTP_503_SERVICE_UNAVAILABLE,
        "The database does not answer at the moment; nothing was stored. Try again soon.",
    ),
}

HEADERS: dict[int, dict[str, str]] = {
    HTTP_401_UNAUTHORIZED: {"WWW-Authenticate": "Token"},
    HTTP_423_LOCKED: {"Retry-After": "2"},
    HTTP_503_SERVICE_UNAVAILABLE: {"Retry-After": "2"},
}

# Of what Litestar raises for that, which has no class of its own.
_LITESTARS_BROKEN_CONNECTION = "client disconnected prematurely"

# Below these nothing asks for credentials, whatever the method.
PUBLIC_PREFIXES = ("/api/schema", "/api/dummy")

AnyRequest = Request[object, object, State]


def answer(
    status: int, detail: str, errors: FieldErrors | None = None, **more: object
) -> Response[object]:
    """The JSON answer of an error."""
    content: dict[str, object] = {"detail": detail, **more}
    if errors:
        content["errors"] = errors
    return Response(content, status_code=status, headers=HEADERS.get(status, {}))


def answer_error(request: AnyRequest, error: Exception) -> Response[object]:
    """The one place where an exception becomes an answer."""
    if isinstance(error, LateUpdate):
        return answer(STATUS[LateUpdate], error.detail, round=error.round, phase=error.phase)
    if isinstance(error, StarlingError):
        response = answer(STATUS[type(error)], error.detail, error.errors)
        if isinstance(error, TooManyAttempts):
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        if isinstance(error, RangeNotSatisfiable):
            response.headers["Content-Range"] = f"bytes */{error.size_bytes}"
        if error.ends_connection:
            response.headers["Connection"] = "close"
        return response
    if isinstance(error, ValidationException):
        errors = _field_errors(request, error)
        detail = "; ".join(f"{name}: {', '.join(texts)}" for name, texts in errors.items())
        return answer(HTTP_400_BAD_REQUEST, detail or error.detail, errors)
    if isinstance(error, HTTPException):
        # The sender is gone; nothing went wrong on our side.
        if error.detail == _LITESTARS_BROKEN_CONNECTION:
            return answer(HTTP_400_BAD_REQUEST, CONNECTION_BROKE)
        return _answer_http(request, error)
    if isinstance(error, RecursionError):
        return answer(HTTP_400_BAD_REQUEST, "The JSON is nested too deeply.")
    outage = next(
        (OUTAGE_ANSWERS[kind] for kind in OUTAGE_ANSWERS if isinstance(error, kind)), None
    )
    if outage is not None:
        logger.warning("%s at %s %s", error, request.method, request.url.path)
        return answer(*outage)
    logger.error("unexpected error at %s %s", request.method, request.url.path, exc_info=error)
    return answer(
        HTTP_500_INTERNAL_SERVER_ERROR,
        "Something went wrong on our side. It was logged; try again or tell the operator.",
    )


def _answer_http(request: AnyRequest, error: HTTPException) -> Response[object]:
    if error.status_code == HTTP_405_METHOD_NOT_ALLOWED:
        # No handler was found, so nobody has asked for credentials yet; the contract does first.
        anonymous = (
            "authorization" not in request.headers
            and request.app.state.session_cookie.secret_in(request) is None
        )
        path = request.url.path
        if anonymous and path.startswith("/api/") and not path.startswith(PUBLIC_PREFIXES):
            response = answer(HTTP_401_UNAUTHORIZED, NO_CREDENTIALS)
        else:
            response = answer(error.status_code, f'Method "{request.method}" not allowed.')
        response.headers.update(error.headers or {})
        return response
    if error.status_code == HTTP_404_NOT_FOUND:
        return answer(error.status_code, f"There is nothing at {request.url.path}.")
    if error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
        return answer(error.status_code, "The body is larger than this address takes.")
    if error.status_code >= HTTP_500_INTERNAL_SERVER_ERROR:
        logger.error("http error at %s", request.url.path, exc_info=error)
    return answer(error.status_code, error.detail)


def _field_errors(request: AnyRequest, error: ValidationException) -> dict[str, list[str]]:
    """Field name to messages, from what Litestar collected of msgspec's complaints."""
    errors: dict[str, list[str]] = {}
    for entry in cast("list[dict[str, str]]", error.extra or []):
        message, key = entry.get("message", "invalid"), entry.get("key", "body")
        if key == "data":
            key, message = named_field(message)
        elif entry.get("source") == ParamType.HEADER:
            key = key.replace("_", "-").title()
        else:
            message = with_choices(message, _kind(request, key))
        errors.setdefault(key.split("[")[0].split(".")[0], []).append(message)
    return errors


def _kind(request: AnyRequest, field: str) -> object:
    """The type of a parameter of the request, or of a field of its body."""
    handler = cast("BaseRouteHandler", request.scope["route_handler"])
    parameters = handler.parsed_fn_signature.parameters
    if field in parameters:
        return parameters[field].raw
    body = parameters.get("data")
    return None if body is None else field_type(body.annotation, field)


def field_type(struct: object, field: str) -> object:
    """The type of a struct's field, by its name in JSON; None where there is none."""
    if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
        return None
    fields = msgspec.structs.fields(struct)
    return next((one.type for one in fields if one.encode_name == field), None)


def with_choices(message: str, kind: object) -> str:
    """A complaint of msgspec's about a word that is none of a few, with those few."""
    words = _words(kind) if message.startswith("Invalid enum value") else []
    return f"{message}; give {' or '.join(words)}." if words else message


def _words(kind: object) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    return [word for inner in get_args(kind) for word in _words(inner)]


def named_field(message: str) -> tuple[str, str]:
    """Field and message of a complaint about the body as a whole."""
    for text, meaning in (
        ("missing required field `", "This field is required."),
        ("unknown field `", "Unknown field."),
    ):
        if text in message:
            return message.split(text)[1].rstrip("`"), meaning
    if message == "'data'":
        return "body", "A JSON object is required."
    return "body", message
