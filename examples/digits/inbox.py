"""A participant's webhook endpoint: takes notifications at once and queues them in order."""

import queue
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import msgspec

MAX_NOTIFICATION_BYTES = 64 * 1024


class NotificationBody(msgspec.Struct, frozen=True):
    """What the server may say beside the type; which fields are there depends on it."""

    global_model_uuid: str | None = None
    round: int | None = None


class Notification(msgspec.Struct, frozen=True):
    """One webhook of the server."""

    notification_type: str
    training_uuid: str
    body: NotificationBody = NotificationBody()


class Inbox:
    """Listens on a free loopback port from the moment it is made.

    The server is answered 202 as soon as a notification is queued: training takes longer than a
    webhook should be kept waiting.
    """

    def __init__(self) -> None:
        self._notifications: queue.SimpleQueue[Notification] = queue.SimpleQueue()
        endpoint = _endpoint(self._notifications)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), endpoint)
        self.port: int = self._server.server_address[1]
        Thread(target=self._server.serve_forever, name="webhooks", daemon=True).start()

    def next(self) -> Notification:
        """The oldest notification not taken yet; waits for one."""
        return self._notifications.get()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _endpoint(
    notifications: "queue.SimpleQueue[Notification]",
) -> type[BaseHTTPRequestHandler]:
    decoder = msgspec.json.Decoder(Notification)

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > MAX_NOTIFICATION_BYTES:
                self.send_error(413)
                return
            try:
                notification = decoder.decode(self.rfile.read(length))
            except msgspec.MsgspecError as error:
                self.send_error(400, explain=str(error))
                return
            notifications.put(notification)
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: one line per notification would drown what matters in the log."""

    return Endpoint
