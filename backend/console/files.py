"""The files under `frontend_static`, read and compressed once, and again when they change."""

import asyncio
import gzip
import hashlib
import os
from pathlib import Path
from types import MappingProxyType

import msgspec

STATIC_DIR = Path(__file__).resolve().parents[2] / "frontend_static"
INDEX = "index.html"
VENDOR = "vendor"

# Not left to what the machine thinks of a suffix: browsers run no module of another type. Litestar
# adds the charset of text.
_TYPES = MappingProxyType(
    {
        ".html": "text/html",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".css": "text/css",
        ".json": "application/json",
        ".map": "application/json",
        ".webmanifest": "application/manifest+json",
        ".svg": "image/svg+xml",
        ".txt": "text/plain",
        "": "text/plain",  # LICENSE and NOTICE of what is vendored
        ".png": "image/png",
        ".ico": "image/x-icon",
        ".woff2": "font/woff2",
    }
)
_UNKNOWN_TYPE = "application/octet-stream"
_COMPRESSED_ALREADY = frozenset({"image/png", "image/x-icon", "font/woff2", _UNKNOWN_TYPE})
GZIP_LEVEL = 9


class ConsoleFile(msgspec.Struct, frozen=True):
    """A file in memory.

    Attributes:
        digest: SHA-256 of the content, hex.
        gzipped: The content compressed; None where that gains nothing.
        version: Of the file on disk that this was read from.
    """

    media_type: str
    content: bytes
    digest: str
    gzipped: bytes | None
    version: tuple[int, int, int]


class ConsoleFiles:
    """Finds files by their path below `root`."""

    def __init__(self, root: Path = STATIC_DIR) -> None:
        self._root = root.resolve()
        self._read: dict[str, ConsoleFile] = {}

    async def find(self, path: str) -> ConsoleFile | None:
        """The file; None when there is none, or nobody is meant to have it.

        Args:
            path: As in the address, without a slash at its beginning.
        """
        location = self._locate(path)
        if location is None:
            return None
        known = self._read.get(path)
        try:
            if known is not None and known.version == _version(location.stat()):
                return known
            found = await asyncio.to_thread(_read, location)
        except OSError:
            return None
        # Only what is there is kept, so that no number of requests fills the memory.
        self._read[path] = found
        return found

    def _locate(self, path: str) -> Path | None:
        parts = path.split("/")
        # Also refuses `.`, `..` and hidden files.
        if any(not part or part.startswith(".") or set(part) & {"\\", "\0"} for part in parts):
            return None
        try:
            location = self._root.joinpath(*parts).resolve(strict=True)
        except OSError:
            return None
        # A link may lead elsewhere.
        return location if location.is_relative_to(self._root) and location.is_file() else None


def _read(location: Path) -> ConsoleFile:
    with location.open("rb") as file:
        version = _version(os.fstat(file.fileno()))
        content = file.read()
    media_type = _TYPES.get(location.suffix.lower(), _UNKNOWN_TYPE)
    gzipped = None
    if media_type not in _COMPRESSED_ALREADY:
        # Without the time, so that the same content has the same bytes in every process.
        gzipped = gzip.compress(content, GZIP_LEVEL, mtime=0)
    return ConsoleFile(
        media_type=media_type,
        content=content,
        digest=hashlib.sha256(content).hexdigest(),
        gzipped=gzipped if gzipped is not None and len(gzipped) < len(content) else None,
        version=version,
    )


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino
