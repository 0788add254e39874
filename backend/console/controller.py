"""The console over HTTP: its page at `/`, everything else below `/static/`."""

from types import MappingProxyType

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED

from backend.console.files import INDEX, VENDOR, ConsoleFile, ConsoleFiles
from backend.entity_tags import names_tag
from backend.error_answers import AnyRequest
from backend.errors import NothingHere

# The page runs our own modules and talks to this server; nothing else, and nobody frames it.
PAGE_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
            "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
FILE_HEADERS = MappingProxyType({"Cross-Origin-Resource-Policy": "same-origin"})
# Asks each time, and is mostly answered 304: a new version of the server is seen at once.
REVALIDATED = "no-cache"
# Changes with a version of the server only; a page that needs the new one at once asks for
# another address, with the version as its query.
KEPT_FOR_A_DAY = "max-age=86400"


@get("/", public=True, include_in_schema=False)
async def index(
    request: AnyRequest, console_files: NamedDependency[ConsoleFiles]
) -> Response[bytes | None]:
    """The console's page."""
    page = await console_files.find(INDEX)
    if page is None:
        raise NothingHere("This server was installed without its web console.")
    return _answer(request, page, {**PAGE_HEADERS, "Cache-Control": REVALIDATED})


@get("/static/{path:path}", public=True, include_in_schema=False)
async def static_file(
    request: AnyRequest, path: FromPath[str], console_files: NamedDependency[ConsoleFiles]
) -> Response[bytes | None]:
    """A file of the console, or of what is vendored for it."""
    relative = path.removeprefix("/")
    found = await console_files.find(relative)
    if found is None:
        raise NothingHere(f"There is nothing at {request.url.path}.")
    cached = KEPT_FOR_A_DAY if relative.startswith(f"{VENDOR}/") else REVALIDATED
    return _answer(request, found, {**FILE_HEADERS, "Cache-Control": cached})


def _answer(
    request: AnyRequest, file: ConsoleFile, headers: dict[str, str]
) -> Response[bytes | None]:
    content, tag = file.content, f'"{file.digest}"'
    if file.gzipped is not None:
        headers["Vary"] = "Accept-Encoding"
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            # Other bytes, so another tag.
            content, tag = file.gzipped, f'"{file.digest}-gzip"'
            headers["Content-Encoding"] = "gzip"
    headers["ETag"] = tag
    if names_tag(request.headers.get("if-none-match"), tag):
        headers.pop("Content-Encoding", None)
        return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(content, status_code=HTTP_200_OK, media_type=file.media_type, headers=headers)


def _accepts_gzip(header: str) -> bool:
    """Whether an `Accept-Encoding` header takes gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, bool] = {}
    for each in header.split(","):
        coding, _, weight = each.partition(";")
        _, _, value = weight.partition("=")
        weights[coding.strip().lower()] = value.strip().rstrip("0.") != "" or not weight
    return weights.get("gzip", weights.get("*", False))
