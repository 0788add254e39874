"""JSON bodies of handlers that also take forms, so that Litestar cannot decode them."""

from typing import TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import State

from backend.error_answers import field_type, named_field, with_choices
from backend.errors import InvalidRequest, TooLarge

StructT = TypeVar("StructT", bound=msgspec.Struct)
UserT = TypeVar("UserT")


def is_json(request: Request[UserT, object, State]) -> bool:
    """Whether the body says that it is JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0]
    return bool(media_type.strip().lower() == "application/json")


async def read_json(
    request: Request[UserT, object, State], kind: type[StructT], *, limit_bytes: int
) -> StructT:
    """The body as a struct.

    Raises:
        InvalidRequest: it is no JSON, or a field is missing, unknown or wrong.
        TooLarge: it is larger than `limit_bytes`.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise TooLarge(f"The body is larger than {limit_bytes} bytes.")
    return decode_json(bytes(body), kind)


def decode_json(body: bytes, kind: type[StructT]) -> StructT:
    """JSON as a struct. Raises `InvalidRequest` naming the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        complaint, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".").split(".")[0].split("[")[0]
        if field:
            name, message = field, with_choices(complaint, field_type(kind, field))
        else:
            name, message = named_field(complaint)
        raise InvalidRequest.field(name, message) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"JSON is malformed: {error}.") from error
