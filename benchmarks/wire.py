"""A spare HTTP/1.1 client: what a thousand participants cost must not be what is measured."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

Body = Iterable[bytes | memoryview]
ReadT = TypeVar("ReadT")


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
    """One kept-alive connection to a server on loopback; one request at a time."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        headers: Mapping[str, str],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

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
        parts = list(body)
        length = sum(len(part) for part in parts)
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{self._headers}"
        if parts or method != "GET":
            head += f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n"
        self._writer.write(f"{head}\r\n".encode())
        for part in parts:
            self._writer.write(part)
            await self._writer.drain()
        answer = await self._answer()
        if answer.status != status:
            shown = answer.body[:300].decode(errors="replace")
            message = f"{method} {path}: {answer.status} instead of {status}: {shown}"
            raise UnexpectedAnswerError(message)
        return answer

    async def _answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        length = next(
            (int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0
        )
        return Answer(int(first.split()[1]), await self._reader.readexactly(length))

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(port: int, token: str | None = None) -> AsyncIterator[Connection]:
    """A connection that is closed at the end of the block."""
    connection = await connect(port, token)
    try:
        yield connection
    finally:
        await connection.close()


async def connect(port: int, token: str | None = None) -> Connection:
    """A connection to a server on loopback that sends the token along."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    return Connection(reader, writer, {"Authorization": f"Token {token}"} if token else {})
