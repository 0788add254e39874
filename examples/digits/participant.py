"""One participant of the demo: a process that sees only its own share and talks HTTP.

It works as any client of the REST API does: it is told by webhook that a round has begun, downloads
the global model, trains it on its share and uploads the result; on a test round it downloads the
new global model and reports how it does on the test set. At the end it trains the model it was
first given on its own share alone, for as many epochs, to see what federating was good for.

Reads one `Enrolment` from stdin, writes `Report`s to stdout, and ends when stdin is closed.
"""

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import msgspec
import numpy as np
import stamina
import torch

from examples.digits.inbox import Inbox, Notification
from examples.digits.learning import LOCAL_EPOCHS, score, train_
from examples.digits.messages import Enrolment, Listening, Report, TrainedAlone
from examples.digits.shares import Samples


class Participant:
    """Does what notifications ask for, in the order in which they came.

    Delivery is at least once, so what was done already is not done again.
    """

    def __init__(
        self, api: httpx.Client, share: Samples, test: Samples, *, seeds: tuple[int, int]
    ) -> None:
        self._api = api
        self._share = share
        self._test = test
        self._seeds = seeds
        self._done: set[tuple[str, int]] = set()
        self._first_model: bytes | None = None
        self._rounds_trained = 0

    def work(self, notifications: Iterator[Notification]) -> None:
        """Take part until the training has finished."""
        for notification in notifications:
            kind, model_id = notification.notification_type, notification.body.global_model_uuid
            if kind == "TRAINING_FINISHED":
                return
            if kind == "CLIENT_REMOVED":
                sys.exit("The server removed this participant from the training.")
            task = (kind, notification.body.round or 0)
            if model_id is None or task in self._done:
                continue
            if kind == "UPDATE_ROUND_START":
                self._train(model_id, round=task[1])
            elif kind == "MODEL_TEST_ROUND":
                self._test_global_model(model_id)
            self._done.add(task)

    def train_alone(self) -> TrainedAlone:
        """What this participant would have reached without the others."""
        if self._first_model is None:
            sys.exit("The training finished without a round for this participant.")
        network = torch.jit.load(io.BytesIO(self._first_model))
        epochs = self._rounds_trained * LOCAL_EPOCHS
        train_(network, self._share, epochs=epochs, seed=self._seed(round=0))
        return TrainedAlone(score(network, self._test))

    def _train(self, model_id: str, *, round: int) -> None:
        global_model = self._download(model_id)
        if self._first_model is None:
            self._first_model = global_model
        network = torch.jit.load(io.BytesIO(global_model))
        seed = self._seed(round=round)
        loss = train_(network, self._share, epochs=LOCAL_EPOCHS, seed=seed)
        self._rounds_trained += 1
        update = io.BytesIO()
        torch.jit.save(network, update)
        self._post(
            f"/api/models/{model_id}/",
            fields={
                "round": round,
                "sample_size": len(self._share),
                "metric_names": ["train_loss"],
                "metric_values": [loss],
            },
            files={"model_file": ("model.pt", update.getvalue(), "application/octet-stream")},
        )

    def _test_global_model(self, model_id: str) -> None:
        network = torch.jit.load(io.BytesIO(self._download(model_id)))
        result = score(network, self._test)
        self._post(
            f"/api/models/{model_id}/metrics/",
            fields={
                "metric_names": ["loss", "accuracy"],
                "metric_values": [result.loss, result.accuracy],
            },
        )

    def _seed(self, *, round: int) -> int:
        """A seed of its own for each run, participant and round."""
        return int(np.random.SeedSequence([*self._seeds, round]).generate_state(1)[0])

    def _download(self, model_id: str) -> bytes:
        for attempt in stamina.retry_context(on=_is_temporary):
            with attempt:
                return self._api.get(f"/api/models/{model_id}/").raise_for_status().content
        raise AssertionError("stamina returns or raises")

    def _post(
        self,
        path: str,
        *,
        fields: dict[str, object],
        files: dict[str, tuple[str, bytes, str]] | None = None,
    ) -> None:
        """Uploads may be repeated: the server takes the same bytes twice and counts them once."""
        for attempt in stamina.retry_context(on=_is_temporary):
            with attempt:
                self._api.post(path, data=fields, files=files).raise_for_status()


def _is_temporary(error: Exception) -> bool:
    """Whether the same request may well succeed in a moment."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in {429, 502, 503, 504}
    return isinstance(error, httpx.TransportError)


def _say(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def _leave_when_stdin_closes() -> None:
    """End with whoever started this process, however that process ended."""

    def wait() -> None:
        # Not through sys.stdin, whose lock this thread would still hold when the process ends.
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, name="parent", daemon=True).start()


@click.command()
@click.option("--share", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--test", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--index", type=int, required=True, help="Which participant this is, from 0.")
@click.option("--seed", type=int, required=True, help="Seed of the whole run.")
def main(share: Path, test: Path, index: int, seed: int) -> None:
    """Take part in one training on the samples in the file SHARE."""
    torch.set_num_threads(1)
    inbox = Inbox()
    _say(Listening(inbox.port))
    line = sys.stdin.buffer.readline()
    if not line:
        return
    enrolment = msgspec.json.decode(line, type=Enrolment)
    _leave_when_stdin_closes()
    headers = {"Authorization": f"Token {enrolment.token}"}
    with httpx.Client(base_url=enrolment.server, headers=headers, timeout=60) as api:
        participant = Participant(api, Samples.load(share), Samples.load(test), seeds=(seed, index))
        try:
            participant.work(iter(inbox.next, None))
        except httpx.HTTPStatusError as error:
            answer = error.response
            sys.exit(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}")
        except httpx.TransportError as error:
            sys.exit(f"The server at {enrolment.server} cannot be reached: {error}")
        _say(participant.train_alone())
    inbox.close()


if __name__ == "__main__":
    main()
