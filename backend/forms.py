"""Forms, taken as a stream: files go to the blob store's staging area, fields stay in memory.

Whatever its size, an upload never needs more memory than a few chunks. Files are hashed and written
while they arrive, in threads.
"""

from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from backend.bodies import limited, staged_body
from backend.errors import InvalidRequest, StarlingError, TooLarge, WrongMediaType
from backend.security.authentication import CallerRequest
from backend.staging import StagedStream, Staging
from backend.uploads.service import PartialUploads
from compute.blobs import BlobStore, Staged

MAX_FIELDS = 20_000
MAX_FIELD_BYTES = 16 * 1024**2

MULTIPART = "multipart/form-data"
# Follows the name of a file in the name of the field that takes the id of an upload instead.
UPLOAD_SUFFIX = "_upload"
URLENCODED = "application/x-www-form-urlencoded"

UserT = TypeVar("UserT")
DecisionT = TypeVar("DecisionT")


class Form:
    """A received form. Field values are bytes, as sent; files are staged."""

    def __init__(self) -> None:
        self.fields: dict[str, list[bytes]] = {}
        self.field_bytes = 0
        self.files: dict[str, Staged] = {}

    def require_only(self, known: Collection[str]) -> None:
        """Refuse fields that mean nothing here.

        Raises:
            InvalidRequest: naming each of them.
        """
        if unknown := sorted(set(self.fields) - set(known)):
            raise InvalidRequest(
                f"Unknown field: {', '.join(unknown)}.",
                errors={name: ["Unknown field."] for name in unknown},
            )

    def text(self, name: str) -> str | None:
        """The field's only value, or None when it was not sent.

        Raises:
            InvalidRequest: it was sent more than once, or is no text.
        """
        values = self.texts(name)
        if len(values) > 1:
            raise InvalidRequest.field(name, "Send this field once.")
        return values[0] if values else None

    def required_text(self, name: str) -> str:
        """The field's only value.

        Raises:
            InvalidRequest: it is missing, was sent more than once, or is no text.
        """
        value = self.text(name)
        if value is None:
            raise InvalidRequest(
                f"Missing required field: {name}", errors={name: ["This field is required."]}
            )
        return value

    def texts(self, name: str) -> list[str]:
        """All values of a repeated field, in order.

        Raises:
            InvalidRequest: one of them is no text.
        """
        return [_decoded(name, value) for value in self.fields.get(name, [])]

    def whole_number(self, name: str, *, minimum: int, limit: int = 2**31) -> int:
        """The field's only value as an integer below `limit`.

        Raises:
            InvalidRequest: it is missing, no integer, or too small or large to be one.
        """
        text = self.required_text(name)
        try:
            number = int(text)
        except ValueError as error:
            raise InvalidRequest.field(name, f"{text[:40]!r} is not a whole number.") from error
        if not minimum <= number < limit:
            raise InvalidRequest.field(
                name, f"{text[:40]} is out of range: at least {minimum}, below {limit}."
            )
        return number

    def file(self, name: str) -> Staged:
        """The uploaded file.

        Raises:
            InvalidRequest: there is none.
        """
        if name not in self.files:
            raise InvalidRequest(
                f"No uploaded file '{name}' found.", errors={name: ["A file is required."]}
            )
        return self.files[name]


@asynccontextmanager
async def receive_form(
    request: Request[UserT, object, State],
    staging: Staging,
    *,
    files: Collection[str] = (),
    limit_bytes: int,
) -> AsyncIterator[Form]:
    """The request's form; staged files that were not promoted are discarded at the end.

    Args:
        files: Names of the file parts to keep; other files are read and dropped.
        limit_bytes: Largest body.

    Raises:
        InvalidRequest: the form is malformed.
        TooLarge: the body or a field is larger than the limit.
        WrongMediaType: the body is no form.
    """
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    form = Form()
    body = limited(request, limit_bytes)
    try:
        match media_type.lower():
            case "multipart/form-data":
                await _receive_multipart(form, body, options.get("boundary", ""), staging, files)
            case "application/x-www-form-urlencoded":
                await _receive_urlencoded(form, body)
            case _:
                raise WrongMediaType(
                    f'Unsupported media type "{media_type}" in request. Send {MULTIPART}.'
                )
        yield form
    finally:
        for staged in form.files.values():
            await staging.discard(staged)


class FormReader:
    """Receives forms into this server's blob store, within its limits."""

    def __init__(
        self,
        blobs: BlobStore,
        partial_uploads: PartialUploads,
        *,
        max_upload_bytes: int,
        max_body_bytes: int,
    ) -> None:
        self.blobs = blobs
        self._staging = Staging(blobs)
        self._partial_uploads = partial_uploads
        self.max_body_bytes = max_body_bytes
        self._max_upload_bytes = max_upload_bytes

    @asynccontextmanager
    async def uploads(self, request: CallerRequest, *files: str) -> AsyncIterator[Form]:
        """A form with files as large as the server takes. See `receive_form`.

        In place of file `x`, text field `x_upload` may name a finished upload of the caller's.
        """
        async with receive_form(
            request, self._staging, files=files, limit_bytes=self._max_upload_bytes
        ) as form:
            for name in files:
                await self._take_finished_upload(form, name, request.user.id)
            yield form

    def body(
        self, request: CallerRequest, *, media_types: Collection[str]
    ) -> AbstractAsyncContextManager[Staged]:
        """No form, but one file as the whole body. See `staged_body`."""
        return staged_body(
            request, self._staging, media_types=media_types, limit_bytes=self._max_upload_bytes
        )

    async def _take_finished_upload(self, form: Form, name: str, owner: UUID) -> None:
        field = name + UPLOAD_SUFFIX
        given_id = form.text(field)
        if given_id is None:
            return
        if name in form.files:
            raise InvalidRequest.field(field, f"Send either this or the file {name}.")
        form.files[name] = await self._partial_uploads.stage(field, given_id, owner)
        del form.fields[field]

    async def drained(
        self, request: Request[UserT, object, State], decision: Awaitable[DecisionT]
    ) -> DecisionT:
        """What was decided about a request before its body is kept.

        A refusal is raised once the body was read and dropped: many clients send all of it before
        they look at an answer. Who expects 100 (Continue) waits for it, and need not send anything.
        """
        try:
            return await decision
        except StarlingError as refusal:
            if request.headers.get("expect", "").lower() == "100-continue":
                refusal.ends_connection = True
                raise
            async for _ in limited(request, self._max_upload_bytes):
                pass
            raise

    def fields(
        self, request: Request[UserT, object, State], *files: str
    ) -> AbstractAsyncContextManager[Form]:
        """A form of ordinary size. See `receive_form`."""
        return receive_form(request, self._staging, files=files, limit_bytes=self.max_body_bytes)


async def _receive_urlencoded(form: Form, body: AsyncIterator[bytes]) -> None:
    received = bytearray()
    async for chunk in body:
        received += chunk
        if len(received) > MAX_FIELD_BYTES:
            raise TooLarge("The form is too large; send files as multipart/form-data.")
    try:
        pairs = parse_qsl(
            received.decode("latin-1"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            encoding="latin-1",
        )
    except ValueError as error:
        raise InvalidRequest("The form has too many fields.") from error
    for name, value in pairs:
        form.fields.setdefault(name, []).append(value.encode("latin-1"))


async def _receive_multipart(
    form: Form,
    body: AsyncIterator[bytes],
    boundary: str,
    staging: Staging,
    files: Collection[str],
) -> None:
    part: _Part | None = None
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FIELDS) as parser:
            async for chunk in body:
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        part = _open_part(event, form, staging, files)
                    elif part is None:
                        raise InvalidRequest("The multipart body is malformed.")
                    elif event:
                        part.append(event)
                    else:
                        await part.finish(form)
                        part = None
                # The parser is synchronous; what it found is written between two chunks.
                if part is not None:
                    await part.flush()
    except MultipartError as error:
        raise InvalidRequest(f"The multipart body is malformed: {error}.") from error
    finally:
        if part is not None:
            await part.abort()


class _Part:
    """A field, collected in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pending = bytearray()

    def append(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) > MAX_FIELD_BYTES:
            raise TooLarge(f"{self.name}: the field is too large; send it as a file.")

    async def flush(self) -> None:
        """A field waits for its end."""

    async def finish(self, form: Form) -> None:
        form.field_bytes += len(self._pending)
        if form.field_bytes > MAX_FIELD_BYTES:
            raise TooLarge("The fields of the form are too large together; send files as files.")
        form.fields.setdefault(self.name, []).append(bytes(self._pending))

    async def abort(self) -> None:
        self._pending.clear()


class _DroppedPart(_Part):
    """A file that nobody asked for."""

    def append(self, data: bytes) -> None:
        """Read and forgotten."""

    async def finish(self, form: Form) -> None:
        """Nothing is kept."""


class _FilePart(_Part):
    """A file on its way to the staging area."""

    def __init__(self, name: str, stream: StagedStream) -> None:
        super().__init__(name)
        self._stream = stream
        self._pieces: list[bytes] = []

    def append(self, data: bytes) -> None:
        self._pieces.append(data)

    async def flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            await self._stream.write(piece)

    async def finish(self, form: Form) -> None:
        await self.flush()
        form.files[self.name] = await self._stream.finish()

    async def abort(self) -> None:
        await self._stream.abort()


def _open_part(
    segment: MultipartSegment, form: Form, staging: Staging, files: Collection[str]
) -> _Part:
    name: str = segment.name
    if segment.filename is None:
        return _Part(name)
    if name not in files:
        return _DroppedPart(name)
    if name in form.files:
        raise InvalidRequest.field(name, "Send this file once.")
    return _FilePart(name, staging.stream())


def _decoded(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest.field(name, "This is not UTF-8 text.") from error
    if "\0" in text:
        raise InvalidRequest.field(name, "Text must not contain NUL characters.")
    return text
