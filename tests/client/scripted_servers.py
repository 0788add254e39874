"""A real HTTP server that answers what a test wants, for what no well server does."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        cut_after: The connection is closed after so many bytes of the body.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None


def refusal(status: int, detail: str, **headers: str) -> Reply:
    """An answer as Starling gives it when something is wrong."""
    return Reply(status, json.dumps({"detail": detail}).encode(), headers)


class ScriptedServer:
    """Answers each request by a function of the test, and remembers it.

    Attributes:
        url: Where it is.
        asked: What was asked so far.
    """

    def __init__(self, respond: Callable[[Asked], Reply | None]) -> None:
        """Begin to listen; for `None` the connection is closed without an answer."""
        self.asked: list[Asked] = []
        script = self

        class Endpoint(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, self.rfile.read(length))
                script.asked.append(asked)
                reply = respond(asked)
                if reply is None:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body[: reply.cut_after])
                self.close_connection = reply.cut_after is not None

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the tests' output is not the place."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def one_after_the_other(*replies: Reply | None) -> Callable[[Asked], Reply | None]:
    """Gives these answers in this order; asking more often fails the test."""
    waiting = iter(replies)
    return lambda _: next(waiting)
