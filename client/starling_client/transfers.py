"""Files on their way: downloads that resume and are checked, uploads that can be sent again."""

import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal
from uuid import UUID

import httpx

from starling_client.calls import Body, Call, Operation, Wait
from starling_client.errors import Conflict, DamagedTransfer, ServerBusy, Unreachable, WrongAddress
from starling_client.progress import TransferBar

ModelFormat = Literal["original", "safetensors"]

SAFETENSORS = "application/vnd.safetensors"
UPLOADS_PATH = "/api/uploads/"
TUS = {"Tus-Resumable": "1.0.0"}
CHUNK_BYTES = 1024**2
# From here on, what has arrived of a broken upload is worth keeping.
RESUMABLE_FROM_BYTES = 64 * 1024**2
# Attempts in a row that bring no byte to the other side.
MAX_VAIN_ATTEMPTS = 10
VAIN_PAUSE_SECONDS = 2.0


class Download:
    """A file that arrives in one or several answers; the ETag is the SHA-256 that it must have.

    Attributes:
        tag: Of the file, quotes included; empty before anything has arrived.
    """

    def __init__(self, path: Path, *, label: str, known_tag: str | None = None) -> None:
        """Begin with an empty file.

        Args:
            path: Created or overwritten.
            known_tag: Of what the caller has already: then 304 is an answer too.
        """
        self.tag = ""
        self._path = path
        self._label = label
        self._known_tag = known_tag
        self._size_bytes = 0
        self._restart()

    def headers(self) -> Mapping[str, str]:
        """Ask for the rest of what has begun, as long as it is still the same file."""
        headers = {"Accept-Encoding": "identity"}
        if 0 < self._offset < self._size_bytes:
            return {**headers, "Range": f"bytes={self._offset}-", "If-Range": self.tag}
        if self._known_tag is not None:
            headers["If-None-Match"] = self._known_tag
        return headers

    @contextlib.contextmanager
    def receiving(self, answer: httpx.Response) -> Iterator[Callable[[bytes], None]]:
        """Append a 206 to what is there, or begin anew; and compare the whole with its tag."""
        if answer.status_code != 206:
            self._restart()
        self.tag = answer.headers.get("ETag", "")
        self._size_bytes = self._offset + int(answer.headers.get("Content-Length", 0))
        with self._path.open("ab") as file, TransferBar(self._label, self._size_bytes) as bar:

            def take(chunk: bytes) -> None:
                file.write(chunk)
                self._digest.update(chunk)
                self._offset += len(chunk)
                bar.reach(self._offset)

            # What was taken before a connection broke is in the file, and the next answer goes on.
            yield take
        found = self._digest.hexdigest()
        if self.tag != f'"{found}"':
            self._restart()
            raise DamagedTransfer(
                f"{self._label} arrived damaged: its SHA-256 is {found}, and should be {self.tag}."
            )

    def _restart(self) -> None:
        self._path.write_bytes(b"")
        self._digest = hashlib.sha256()
        self._offset = 0


class ModelFiles:
    """The models downloaded last, which are not sent again while they are the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[UUID, ModelFormat], tuple[str, Path]] = {}

    def fetch(self, model_id: UUID, format: ModelFormat) -> Operation[Path]:
        """The file of a model as it is now; it stays until a newer one is fetched."""
        known = self._known.get((model_id, format))
        download = Download(
            self._folder / f"{model_id}.part",
            label="Global model",
            known_tag=known[0] if known else None,
        )
        answer = yield Call(
            "GET",
            f"/api/models/{model_id}/",
            params={"format": format},
            sink=download,
        )
        if known is not None and answer.status_code == 304:
            return known[1]
        suffix = "safetensors" if format == "safetensors" else "pt"
        digest = download.tag.strip('"')
        path = (self._folder / f"{model_id}.part").rename(self._folder / f"{digest}.{suffix}")
        if known is not None:
            # Some systems keep a file that is still mapped; it goes with the folder.
            with contextlib.suppress(OSError):
                known[1].unlink()
        self._known[model_id, format] = (download.tag, path)
        return path


class FileBody(Body):
    """A file, from `offset` on, as the body of a request."""

    def __init__(self, path: Path, *, label: str, offset: int = 0) -> None:
        self._path = path
        self._label = label
        self._offset = offset
        self._whole_bytes = path.stat().st_size
        self.size_bytes = self._whole_bytes - offset

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of the file; each time from the beginning."""
        sent = self._offset
        with self._path.open("rb") as file, TransferBar(self._label, self._whole_bytes) as bar:
            file.seek(sent)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
                sent += len(chunk)
                bar.reach(sent)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The same for who awaits: a piece is read from a file that was written a moment ago."""
        for chunk in self:
            yield chunk


def digest_header(path: Path) -> dict[str, str]:
    """`Content-Digest` of a file (RFC 9530), by which the server knows damaged bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return {"Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"}


def upload_in_parts(path: Path, *, label: str) -> Operation[str]:
    """Send a file by the tus protocol, going on after every break; the id that forms take.

    Raises:
        Unreachable, ServerBusy: nothing got through any more.
    """
    size_bytes = path.stat().st_size
    begun = yield Call(
        "POST", UPLOADS_PATH, headers={**TUS, "Upload-Length": str(size_bytes)}, repeatable=False
    )
    location: str = begun.headers.get("Location", "")
    if not location.startswith(UPLOADS_PATH):
        raise WrongAddress(f"{begun.url} does not say where the bytes of an upload go.")
    offset, vain = 0, 0
    while offset < size_bytes:
        before = offset
        try:
            answer = yield Call(
                "PATCH",
                location,
                headers={
                    **TUS,
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                },
                body=FileBody(path, label=label, offset=offset),
                retried=False,
            )
        except (Unreachable, ServerBusy, Conflict):  # the last: of a request that still appends
            vain += 1
            if vain > MAX_VAIN_ATTEMPTS:
                raise
            yield Wait(VAIN_PAUSE_SECONDS if vain > 1 else 0.0)
            answer = yield Call("HEAD", location, headers=TUS)
        offset = int(answer.headers["Upload-Offset"])
        if offset > before:
            vain = 0
    return location.strip("/").rpartition("/")[2]
