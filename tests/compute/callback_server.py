"""A real HTTP server on loopback that plays the backend's callback endpoint."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from compute.contract import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Callback,
    CallbackTarget,
    callback_is_genuine,
)

SECRET = "callback secret of the tests"


class CallbackServer:
    """Answers callbacks with the statuses it was given, then with 200, and keeps what it took."""

    def __init__(self, port: int) -> None:
        self.target = CallbackTarget(url=f"http://127.0.0.1:{port}/callbacks/", secret=SECRET)
        self.statuses: list[int] = []
        self.received: list[Callback] = []
        self.signatures_were_genuine: list[bool] = []

    def take(self, body: bytes, timestamp: str, signature: str) -> int:
        """The status to answer with."""
        genuine = callback_is_genuine(
            SECRET, timestamp, body, signature, now=float(timestamp) if timestamp else 0.0
        )
        self.signatures_were_genuine.append(genuine)
        self.received.append(msgspec.json.decode(body, type=Callback))
        return self.statuses.pop(0) if self.statuses else 200


@contextmanager
def serving_callbacks() -> Iterator[CallbackServer]:
    """A running server; it ends with the context."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = backend.take(
                body, self.headers[TIMESTAMP_HEADER] or "", self.headers[SIGNATURE_HEADER] or ""
            )
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        backend = CallbackServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield backend
        finally:
            server.shutdown()
            thread.join()
