"""The limits of transfers: servers that do nothing with the bytes, or only what nobody can spare.

A process of its own, as Starling is one: `python -m benchmarks.sinks PORT FOLDER SIZE_BYTES`. On
the next port listens the raw socket.
"""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import cast

import uvicorn

from benchmarks.raw_http import connect

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

REPOSITORY = Path(__file__).parent.parent
START_SECONDS = 30.0


class Sink:
    """An ASGI application without a framework.

    `PUT /drop` reads and forgets; `PUT /keep` also hashes, writes and fsyncs; `GET /memory` sends
    bytes that are in memory.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._content = os.urandom(size_bytes)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/memory":
            await _answer(send, self._content)
        elif scope["path"] == "/keep":
            await self._keep(receive, send)
        else:
            async for _ in _body(receive):
                pass
            await _answer(send, b"dropped")

    async def _keep(self, receive: Receive, send: Send) -> None:
        path = self._folder / os.urandom(8).hex()
        sha256 = hashlib.sha256()
        with path.open("xb", buffering=0) as file:
            async for chunk in _body(receive):
                sha256.update(chunk)
                file.write(chunk)
            os.fsync(file.fileno())
        await _answer(send, sha256.hexdigest().encode())
        path.unlink()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        more = bool(message.get("more_body", False))
        yield cast("bytes", message.get("body", b""))


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _RawSink(asyncio.Protocol):
    """Counts the bytes of a connection and says "done" once all are there."""

    def __init__(self, size_bytes: int) -> None:
        self._missing = size_bytes
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing <= 0 and self._transport is not None:
            self._transport.write(b"done")


@contextlib.contextmanager
def sinks(port: int, folder: Path, size_bytes: int) -> Iterator[None]:
    """The servers, from when they answer until the end of the block."""
    arguments = [str(port), str(folder), str(size_bytes)]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "benchmarks.sinks", *arguments], cwd=REPOSITORY
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                message = "The sinks did not start."
                raise RuntimeError(message)
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        connect(port).close()
        connect(port + 1).close()
    except ConnectionError:
        return False
    return True


async def _serve(port: int, folder: Path, size_bytes: int) -> None:
    loop = asyncio.get_running_loop()
    raw = await loop.create_server(lambda: _RawSink(size_bytes), "127.0.0.1", port + 1)
    config = uvicorn.Config(
        cast("uvicorn._types.ASGIApplication", Sink(folder, size_bytes)),  # noqa: SLF001
        port=port,
        log_level="warning",
        lifespan="off",
        ws="none",
    )
    async with raw:
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
