"""An endpoint for webhooks, for participants that the server can reach.

What a webhook says is not looked at beyond its signature: it says that it is time to read the feed,
which has the same notifications with the same ids. So a lost or repeated webhook does no harm.
"""

import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from starling_client.calls import Call, Operation, fetch
from starling_client.errors import MissingSetting
from starling_client.wire import User, WebhookSecret

MAX_BODY_BYTES = 1024**2
TOLERANCE_SECONDS = 300.0
SECRET_PREFIX = "whsec_"  # noqa: S105 - marks a secret, is none
PROFILE_PATH = "/api/users/myself/profile/"


@dataclass(frozen=True)
class Webhook:
    """Where to listen, and how the server reaches it.

        join(webhook=Webhook(url="https://me.example/hook", host="0.0.0.0", port=8080))

    Attributes:
        url: What the server POSTs to; by default the address listened at.
        host: To listen at.
        port: 0: any free one.
    """

    url: str | None = None
    host: str = "127.0.0.1"
    port: int = 0


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> bool:
    """Whether the server sent these bytes lately (Standard Webhooks, version 1.0.0).

    Args:
        secret: `whsec_` and base64.
        headers: Their names in lower case.
        now: Seconds since 1970.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(
        hmac.compare_digest(f"v1,{expected}".encode(), given.encode())
        for given in headers.get("webhook-signature", "").split()
    )


class WebhookReceiver:
    """Listens from its making until it is closed, and sets `woken` at each signed webhook."""

    def __init__(self, webhook: Webhook, woken: threading.Event) -> None:
        """Begin to listen.

        Raises:
            MissingSetting: the address cannot be listened at.
        """
        self._secret: str | None = None
        self._woken = woken
        try:
            self._server = ThreadingHTTPServer((webhook.host, webhook.port), self._endpoint())
        except OSError as error:
            raise MissingSetting(
                f"Webhooks cannot be taken at {webhook.host}:{webhook.port} ({error.strerror}); "
                "choose another port, or leave webhooks out: they are not needed."
            ) from error
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self.url = webhook.url or f"http://{webhook.host}:{port}/"
        self._previous: str | None = None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="starling-webhooks", daemon=True
        )
        self._thread.start()

    def register(self) -> Operation[None]:
        """Have the server send webhooks here from now on."""
        secret = yield from fetch(Call("GET", "/api/users/myself/webhook-secret/"), WebhookSecret)
        self._secret = secret.webhook_secret
        me = yield from fetch(Call("GET", "/api/users/myself/"), User)
        yield Call("PATCH", PROFILE_PATH, json={"message_endpoint": self.url})
        self._previous = me.message_endpoint

    def unregister(self) -> Operation[None]:
        """Put back what was there before, if `register` came that far."""
        if self._previous is not None:
            previous = "" if self._previous == self.url else self._previous
            yield Call("PATCH", PROFILE_PATH, json={"message_endpoint": previous})

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, headers: Mapping[str, str], body: bytes) -> int:
        secret = self._secret
        if secret is None or not is_signed(secret, headers, body, now=time.time()):
            return 401
        self._woken.set()
        return 202

    def _endpoint(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Endpoint(BaseHTTPRequestHandler):
            timeout = 30

            def do_POST(self) -> None:
                length = self.headers.get("Content-Length", "")
                if not length.isdigit() or int(length) > MAX_BODY_BYTES:
                    status = 413
                else:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    status = receiver._take(headers, self.rfile.read(int(length)))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: webhooks are no news."""

        return Endpoint
