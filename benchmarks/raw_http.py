"""HTTP/1.1 over a blocking socket: next to nothing on the client's side of a measurement."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_RECEIVE_BYTES = 1024**2


@dataclass(frozen=True)
class Answer:
    """Status and body; of a download only the number of its bytes is kept."""

    status: int
    body: bytes
    size_bytes: int


def connect(port: int) -> socket.socket:
    """A connection to a server on this machine."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(
    connection: socket.socket,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Iterable[bytes | memoryview] = (),
    *,
    is_kept: bool = True,
) -> Answer:
    """Send one request and read its answer.

    Args:
        body: Its parts, sent one after the other; their lengths give Content-Length.
        is_kept: Whether the answer's body is kept; dropped, it is only counted.
    """
    parts = list(body)
    lines = {
        "Host": "127.0.0.1",
        "Content-Length": str(sum(len(part) for part in parts)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
    for part in parts:
        connection.sendall(part)
    return _answer(connection, is_kept=is_kept)


def _answer(connection: socket.socket, *, is_kept: bool) -> Answer:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _received(connection)
    head, _, rest = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    size_bytes = int(fields.get("content-length", "0"))
    missing = size_bytes - len(rest)
    if is_kept:
        while len(rest) < size_bytes:
            rest += _received(connection)
        return Answer(status, rest, size_bytes)
    buffer = bytearray(_RECEIVE_BYTES)
    while missing:
        count = connection.recv_into(buffer)
        if not count:
            message = "The connection broke."
            raise ConnectionError(message)
        missing -= count
    return Answer(status, b"", size_bytes)


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(_RECEIVE_BYTES)
    if not received:
        message = "The connection broke."
        raise ConnectionError(message)
    return received
