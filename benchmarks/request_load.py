"""One HTTP request, sent many times over kept connections: as fast as it goes, or at a rate.

The client shares the cores with the server it measures, so it speaks just enough HTTP/1.1 by hand.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter


@dataclass
class Load:
    """What a load found.

    Attributes:
        seconds: How long the answers took, each from when the client turned to its request; timers
            are up to a millisecond late, which is not the server's doing.
        span_seconds: From the first request's time to the last answer.
        failures: Answers of another status than 200.
    """

    seconds: list[float] = field(default_factory=list)
    span_seconds: float = 0.0
    failures: int = 0

    @property
    def per_second(self) -> float:
        """Good answers per second."""
        return (len(self.seconds) - self.failures) / self.span_seconds

    def quantile(self, share: float) -> float:
        """The time within which this share of the answers came, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def json_post(path: str, token: str, body: object) -> bytes:
    """The bytes of a POST of JSON, signed in by token."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def closed_load(port: int, request: bytes, *, connections: int, seconds: float) -> Load:
    """Every connection sends the next request as soon as it has an answer."""

    async def run() -> Load:
        load = Load()
        started = perf_counter()

        async def keep_asking() -> None:
            connection = await _Connection.open(port)
            while perf_counter() - started < seconds:
                await connection.ask(request, perf_counter(), load)
            await connection.close()

        await asyncio.gather(*(keep_asking() for _ in range(connections)))
        load.span_seconds = perf_counter() - started
        return load

    return asyncio.run(run())


def open_load(port: int, request: bytes, *, per_second: float, seconds: float) -> Load:
    """Requests at even intervals, whether or not those before were answered."""

    async def run() -> Load:
        load = Load()
        idle = [await _Connection.open(port)]
        asking: set[asyncio.Task[None]] = set()

        async def ask_once(started: float) -> None:
            connection = idle.pop() if idle else await _Connection.open(port)
            await connection.ask(request, started, load)
            idle.append(connection)

        started = perf_counter()
        for number in range(int(per_second * seconds)):
            due = started + number / per_second
            await asyncio.sleep(max(0.0, due - perf_counter()))
            task = asyncio.create_task(ask_once(perf_counter()))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)
        load.span_seconds = perf_counter() - started
        for connection in idle:
            await connection.close()
        return load

    return asyncio.run(run())


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes, started: float, load: Load) -> None:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        load.seconds.append(perf_counter() - started)
        load.failures += not head.startswith(b"HTTP/1.1 200 ")

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


def per_second(call: Callable[[], object], seconds: float) -> float:
    """How often `call` can be made one after another."""
    started = perf_counter()
    count = 0
    while (elapsed := perf_counter() - started) < seconds:
        call()
        count += 1
    return count / elapsed
