"""A spare HTTP/1.1 client: what a thousand participants cost must not be what is measured."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

Body = Iterable[bytes | memoryview]
ReadT = TypeVar("ReadT")

# Below the five seconds after which uvicorn closes a connection on which nothing is asked.
KEPT_ALIVE_SECONDS = 3.0


@dataclass(frozen=True)
class Answer:
    """A response, with its whole body."""

    status: int
    body: bytes

    def read(self, type: type[ReadT]) -> ReadT:
        """The JSON in the body."""
        return msgspec.json.decode(self.body, type=type)


class UnexpectedAnswerError(Exception):
    """The server answered with another status than the measurement is about."""


class Connection:
    """A connection to a server on loopback, made when it is needed; one request at a time."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self._port = port
        self._headers = f"Authorization: Token {token}\r\n" if token else ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._answered_at = 0.0

    async def ask(
        self,
        method: str,
        path: str,
        body: Body = (),
        *,
        status: int = 200,
        content_type: str = "application/json",
    ) -> Answer:
        """The answer to a request.

        Raises:
            UnexpectedAnswerError: its status is not `status`.
        """
        reader, writer = await self._open()
        parts = list(body)
        length = sum(len(part) for part in parts)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._headers}"
        if parts or method != "GET":
            head += f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n"
        writer.write(f"{head}\r\n".encode())
        for part in parts:
            writer.write(part)
            await writer.drain()
        answer = await _read_answer(reader)
        self._answered_at = time.monotonic()
        if answer.status != status:
            shown = answer.body[:300].decode(errors="replace")
            message = f"{method} {path}: {answer.status} instead of {status}: {shown}"
            raise UnexpectedAnswerError(message)
        return answer

    async def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if time.monotonic() - self._answered_at > KEPT_ALIVE_SECONDS:
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    length = next(
        (int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0
    )
    return Answer(int(first.split()[1]), await reader.readexactly(length))
