"""A participant's side of webhooks: a real HTTP server that keeps what it is sent."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Notification:
    """One POST as it arrived.

    Attributes:
        to: Name of the endpoint it was sent to.
        raw: The body, byte for byte.
    """

    to: str
    type: str
    training: str
    body: Mapping[str, object]
    headers: Mapping[str, str]
    payload: Mapping[str, object]
    raw: bytes


class WebhookReceiver:
    """Endpoints on loopback, one per name, that all write into one list in order of arrival."""

    def __init__(self) -> None:
        self._arrival = threading.Condition()
        self._received: list[Notification] = []
        self._statuses: dict[str, int] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver._keep(self.path.strip("/"), raw, dict(self.headers.items()))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the tests' output is not the place."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def endpoint(self, name: str) -> str:
        """URL of the endpoint called `name`."""
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def answer(self, name: str, status: int) -> None:
        """From now on the endpoint called `name` answers with `status`."""
        with self._arrival:
            self._statuses[name] = status

    def received(self, to: str | None = None, training: str | None = None) -> list[Notification]:
        """What has arrived so far, in order, narrowed to one endpoint or training."""
        with self._arrival:
            return [
                one
                for one in self._received
                if to in {None, one.to} and training in {None, one.training}
            ]

    def wait_for(
        self, condition: Callable[[list[Notification]], T], timeout_seconds: float = 60
    ) -> T:
        """The first truthy value of `condition` on what has arrived.

        Raises:
            AssertionError: it did not become true in time; shows what had arrived.
        """
        value: T | None = None

        def holds() -> bool:
            nonlocal value
            value = condition(list(self._received))
            return bool(value)

        with self._arrival:
            if self._arrival.wait_for(holds, timeout=timeout_seconds) and value is not None:
                return value
            arrived = "\n".join(f"{one.to}: {one.type} {one.body}" for one in self._received)
        raise AssertionError(f"Waited {timeout_seconds} s in vain; had arrived:\n{arrived}")

    def wait_for_types(self, to: str, training: str, *types: str) -> list[Notification]:
        """What `to` was sent about the training, once it holds as many of each type as given."""

        def enough(received: list[Notification]) -> list[Notification]:
            own = [one for one in received if one.to == to and one.training == training]
            arrived = [one.type for one in own]
            return own if all(arrived.count(kind) >= types.count(kind) for kind in types) else []

        return self.wait_for(enough)

    def _keep(self, to: str, raw: bytes, headers: Mapping[str, str]) -> int:
        payload = json.loads(raw)
        with self._arrival:
            self._received.append(
                Notification(
                    to=to,
                    type=payload["notification_type"],
                    training=payload["training_uuid"],
                    body=payload["body"],
                    headers={name.lower(): value for name, value in headers.items()},
                    payload=payload,
                    raw=raw,
                )
            )
            self._arrival.notify_all()
            return self._statuses.get(to, 200)
