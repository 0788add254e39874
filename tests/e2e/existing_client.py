"""A participant as the field has them: a process that knows the wire contract and nothing else.

It registers, waits for notifications on an HTTP server of its own, and for each round downloads
the model with `torch.load`, trains it on data that it keeps, and uploads it as a multipart form.
Every request carries user name and password. What it was told, and the answers to what it sent,
are printed as one JSON object a line.

    python -m tests.e2e.existing_client SERVER_URL USERNAME PASSWORD
"""

import argparse
import io
import json
import queue
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import torch
from torch import nn

Notification = dict[str, object]


def main() -> None:
    """Take part in one training."""
    parser = argparse.ArgumentParser()
    for name in ("server", "username", "password"):
        parser.add_argument(name)
    given = parser.parse_args()
    torch.set_num_threads(1)
    inbox: queue.Queue[Notification] = queue.Queue()
    listener = notification_server(inbox)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{listener.server_port}/notify"
    with httpx.Client(
        base_url=given.server, auth=(given.username, given.password), timeout=60, trust_env=False
    ) as http:
        registered = http.post(
            "/api/users/",
            json={
                "username": given.username,
                "password": given.password,
                "message_endpoint": endpoint,
                "client": True,
            },
            auth=None,
        )
        registered.raise_for_status()
        said(user_id=registered.json()["id"])
        Participant(http, registered.json()["id"]).run(inbox)
    listener.shutdown()


def said(**line: object) -> None:
    """Tell whoever reads the output."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def notification_server(inbox: "queue.Queue[Notification]") -> ThreadingHTTPServer:
    """A server on any free port that keeps what is POSTed to it and answers at once."""

    class Inbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the output has its format."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Inbox)


class Participant:
    """Does what the notifications say, on data of its own."""

    def __init__(self, http: httpx.Client, user_id: str) -> None:
        self._http = http
        self._user_id = user_id
        generator = torch.Generator().manual_seed(int(user_id[:8], 16))
        self._inputs = torch.randn(32, 3, generator=generator)
        self._labels = torch.randint(0, 2, (32,), generator=generator)

    def run(self, inbox: "queue.Queue[Notification]") -> None:
        """Return when the training has finished."""
        while True:
            notification = inbox.get()
            kind, body = notification["notification_type"], notification["body"]
            assert isinstance(body, dict)
            said(told=kind, round=body.get("round"))
            model_id = str(body["global_model_uuid"])
            match kind:
                case "UPDATE_ROUND_START":
                    self._train(model_id, body["round"])
                case "MODEL_TEST_ROUND":
                    self._test(model_id)
                case "TRAINING_FINISHED":
                    return

    def _train(self, model_id: str, round: int) -> None:
        model = self._download(model_id)
        model.train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = nn.functional.cross_entropy(model(self._inputs), self._labels)
        loss.backward()
        optimizer.step()
        file = io.BytesIO()
        if isinstance(model, torch.jit.ScriptModule):
            torch.jit.save(model, file)
        else:
            torch.save(model, file)
        answer = self._http.post(
            f"/api/models/{model_id}/",
            data={
                "owner": self._user_id,
                "round": str(round),
                "sample_size": str(len(self._inputs)),
                "metric_names": ["loss", "samples"],
                "metric_values": [str(loss.item()), str(len(self._inputs))],
            },
            files={"model_file": ("model_file", file.getvalue())},
        )
        said(sent="update", round=round, status=answer.status_code, answer=answer.json())

    def _test(self, model_id: str) -> None:
        model = self._download(model_id).eval()
        with torch.no_grad():
            outputs = model(self._inputs)
        accuracy = (outputs.argmax(1) == self._labels).float().mean().item()
        loss = nn.functional.cross_entropy(outputs, self._labels).item()
        answer = self._http.post(
            f"/api/models/{model_id}/metrics/",
            data={
                "metric_names": ["accuracy", "loss"],
                "metric_values": [str(accuracy), str(loss)],
            },
        )
        said(sent="metrics", status=answer.status_code, answer=answer.json())

    def _download(self, model_id: str) -> nn.Module:
        answer = self._http.get(f"/api/models/{model_id}/")
        answer.raise_for_status()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = torch.load(io.BytesIO(answer.content), weights_only=False)
        assert isinstance(model, nn.Module)
        return model


if __name__ == "__main__":
    main()
