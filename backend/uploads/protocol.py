"""The tus protocol, version 1.0.0 (https://tus.io), as far as it is not about one upload."""

from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders, State
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import VersionNotSupported
from backend.uploads.checksums import ALGORITHMS

AnyConnection = ASGIConnection[BaseRouteHandler, object, object, State]

UPLOADS_PATH = "/api/uploads"
VERSION = "1.0.0"
OFFSET_MEDIA_TYPE = "application/offset+octet-stream"

# What a page of another origin may send and see.
REQUEST_HEADERS = (
    *("Tus-Resumable", "Upload-Length", "Upload-Metadata", "Upload-Offset", "Upload-Checksum"),
    "X-HTTP-Method-Override",
)
RESPONSE_HEADERS = (
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    *("Upload-Length", "Upload-Offset", "Upload-Expires", "Location"),
)


def protocol_headers(max_upload_bytes: int) -> dict[str, str]:
    """What OPTIONS tells about this server."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,expiration,termination,checksum",
        "Tus-Max-Size": str(max_upload_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def require_version(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """Guard: refuses other versions; a request that says none is taken for one of ours.

    Raises:
        VersionNotSupported: the client speaks another one.
    """
    if connection.headers.get("tus-resumable", VERSION) != VERSION:
        raise VersionNotSupported(f"Tus-Resumable: this server speaks version {VERSION}.")


def say_version(app: ASGIApp) -> ASGIApp:
    """Middleware: every answer says the version of the protocol."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders.from_message(message)["Tus-Resumable"] = VERSION
            await send(message)

        await app(scope, receive, send_with_version)

    return wrapped
