"""Resumable uploads over HTTP: the tus protocol, core and extensions."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Annotated

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)
from litestar.params import FromPath, HeaderParameter
from litestar.status_codes import HTTP_201_CREATED, HTTP_204_NO_CONTENT

from backend.errors import InvalidRequest, WrongMediaType
from backend.security.authentication import CallerRequest
from backend.uploads.checksums import parse_checksum
from backend.uploads.protocol import OFFSET_MEDIA_TYPE, UPLOADS_PATH, require_version, say_version
from backend.uploads.schemas import UploadJson
from backend.uploads.service import PartialUploads, UploadState


@dataclass
class AppendOperation(Operation):
    """An operation that takes bytes and answers with headers alone."""

    def __post_init__(self) -> None:
        schema = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        self.request_body = RequestBody(
            content={OFFSET_MEDIA_TYPE: OpenAPIMediaType(schema=schema)}, required=True
        )
        answer = (self.responses or {}).get(str(HTTP_204_NO_CONTENT))
        if isinstance(answer, OpenAPIResponse):
            answer.content = None


class UploadController(Controller):
    """Begin, append, look, delete."""

    path = UPLOADS_PATH
    tags = ("uploads",)
    middleware = (say_version,)
    guards = (require_version,)

    @post("/")
    async def begin(
        self,
        request: CallerRequest,
        upload_length: Annotated[int, HeaderParameter(name="Upload-Length", ge=0, le=2**63 - 1)],
        partial_uploads: NamedDependency[PartialUploads],
    ) -> Response[UploadJson]:
        """Begin a resumable upload of `Upload-Length` bytes; `Location` is where they go."""
        state = await partial_uploads.begin(request.user.id, upload_length)
        headers = {**_headers(state), "Location": f"{UPLOADS_PATH}/{state.id}/"}
        return Response(_json(state), status_code=HTTP_201_CREATED, headers=headers)

    @get("/{upload_id:str}/")
    async def look(
        self,
        request: CallerRequest,
        upload_id: FromPath[str],
        partial_uploads: NamedDependency[PartialUploads],
    ) -> Response[UploadJson]:
        """How far an upload is: `Upload-Offset`, in the answer to HEAD too."""
        state = await partial_uploads.find(upload_id, request.user.id)
        return Response(_json(state), headers=_headers(state))

    @patch(
        "/{upload_id:str}/",
        operation_class=AppendOperation,
        request_max_body_size=None,
        status_code=HTTP_204_NO_CONTENT,
    )
    async def append(
        self,
        request: CallerRequest,
        upload_id: FromPath[str],
        upload_offset: Annotated[int, HeaderParameter(name="Upload-Offset", ge=0, le=2**63 - 1)],
        partial_uploads: NamedDependency[PartialUploads],
        upload_checksum: Annotated[str | None, HeaderParameter(name="Upload-Checksum")] = None,
    ) -> Response[None]:
        """Append bytes at `Upload-Offset`; what arrives before a broken connection is kept."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != OFFSET_MEDIA_TYPE:
            raise WrongMediaType(f"Send the bytes as {OFFSET_MEDIA_TYPE}.")
        state = await partial_uploads.append(
            upload_id,
            request.user.id,
            upload_offset,
            _body(request),
            parse_checksum(upload_checksum),
        )
        return Response(None, status_code=HTTP_204_NO_CONTENT, headers=_headers(state))

    @delete("/{upload_id:str}/", status_code=HTTP_204_NO_CONTENT)
    async def terminate(
        self,
        request: CallerRequest,
        upload_id: FromPath[str],
        partial_uploads: NamedDependency[PartialUploads],
    ) -> None:
        """Delete an upload and its bytes; what was made of it stays."""
        await partial_uploads.delete(upload_id, request.user.id)


async def _body(request: CallerRequest) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except InternalServerException as error:
        # The sender is gone; nothing went wrong on our side.
        raise InvalidRequest("The connection broke; go on where the upload is now.") from error


def _json(state: UploadState) -> UploadJson:
    return UploadJson(state.id, state.offset, state.size_bytes, state.expires_at)


def _headers(state: UploadState) -> dict[str, str]:
    return {
        "Cache-Control": "no-store",
        "Upload-Offset": str(state.offset),
        "Upload-Length": str(state.size_bytes),
        "Upload-Expires": format_datetime(state.expires_at, usegmt=True),
    }
