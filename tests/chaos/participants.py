"""Participants who never give up: they read the feed, train, and repeat what was not answered."""

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import httpx

from tests.chaos.journal import Accepted, Journal, Told
from tests.chaos.lessons import (
    Lessons,
    Weights,
    first_difference,
    moment_file,
    read_model,
    update_file,
)
from tests.chaos.scenarios import Moment

# What a server that is not well answers with; anything else is an answer.
TRY_AGAIN = frozenset({502, 503, 504, 507})
PAUSE_SECONDS = 0.2
FEED_WAIT_SECONDS = 10
# Small, so that a download is still under way when its first bytes have been read.
RECEIVE_BUFFER_BYTES = 64 * 1024
BOUNDARY = "chaos-3f1c9a7e"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class WentWrongError(Exception):
    """A run cannot go on; what is wrong is in the journal."""


class Passage(Protocol):
    """Where a participant says how far it is; things may be killed meanwhile."""

    def __call__(self, moment: Moment, round: int) -> None: ...


class PatientClient:
    """Asks again until the server has an answer, or it is too late.

    Attributes:
        who: Its name in the journal.
        deadline: When it is too late, by the monotonic clock.
    """

    def __init__(
        self, url: str, token: str | None, *, who: str, journal: Journal, deadline: float
    ) -> None:
        self.who = who
        self.deadline = deadline
        self._journal = journal
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Token {token}"} if token else {},
            timeout=httpx.Timeout(30.0, connect=5.0),
            transport=httpx.HTTPTransport(
                verify=False,  # there is no TLS; spares loading certificates
                socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)],
            ),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def insist(
        self, what: str, status: int, ask: Callable[[httpx.Client], httpx.Response]
    ) -> httpx.Response:
        """The answer of `status`; whoever is not answered asks again.

        Args:
            ask: Sends the request and reads the answer.

        Raises:
            WentWrongError: another answer came, or none before the deadline.
        """
        attempts, last = 0, "nothing"
        while time.monotonic() < self.deadline:
            attempts += 1
            try:
                answer = ask(self._http)
            except httpx.TransportError as error:
                last = f"{type(error).__name__} {error}"
            else:
                if answer.status_code == status:
                    if attempts > 1:
                        self._journal.note(self.who, f"{what}: {status} at attempt {attempts}")
                    return answer
                last = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code not in TRY_AGAIN:
                    self._journal.complain(self.who, f"{what}: {last} instead of {status}")
                    raise WentWrongError
            if attempts == 1:
                self._journal.note(self.who, f"{what}: {last}; trying again")
            time.sleep(PAUSE_SECONDS)
        self._journal.complain(
            self.who, f"{what}: not answered before the deadline, {attempts} attempts; last {last}"
        )
        raise WentWrongError

    def get(self, path: str, what: str, **parameters: int) -> httpx.Response:
        """The answer to GET `path`."""
        return self.insist(what, 200, lambda http: http.get(path, params=parameters))

    def post(
        self, path: str, what: str, status: int, json: Mapping[str, object] | None = None
    ) -> httpx.Response:
        """The answer to POST `path`."""
        return self.insist(what, status, lambda http: http.post(path, json=json))

    def post_form(self, path: str, what: str, status: int, body: bytes) -> httpx.Response:
        """The answer to POST `path` with a form made by `multipart`."""
        return self.insist(what, status, lambda http: http.post(path, content=body, headers=FORM))

    def delete(self, path: str, what: str, status: int) -> None:
        """DELETE `path`."""
        self.insist(what, status, lambda http: http.delete(path))


class Participant:
    """One participant of one training, from its start to its end.

    Attributes:
        place: Its place in the training, 0-based.
    """

    def __init__(
        self,
        client: PatientClient,
        place: int,
        *,
        model_id: str,
        lessons: Lessons,
        course: Sequence[Weights],
        journal: Journal,
        passage: Passage,
    ) -> None:
        self.place = place
        self._client = client
        self._model = f"/api/models/{model_id}/"
        self._lessons = lessons
        self._course = course
        self._journal = journal
        self._passage = passage
        self._thread = threading.Thread(target=self._run, name=client.who, daemon=True)

    def start(self) -> None:
        """Take part, in a thread of its own."""
        self._thread.start()

    def join(self, timeout_seconds: float) -> bool:
        """Whether it ended in time."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._take_part()
        except WentWrongError:
            pass
        except Exception as error:
            self._journal.complain(self._client.who, f"a mistake in the driver: {error!r}")
            raise

    def _take_part(self) -> None:
        last = 0
        while not self._journal.wrong:  # else nobody needs to wait any longer
            items = self._client.get(
                "/api/users/myself/notifications/",
                "feed",
                after=last,
                wait=FEED_WAIT_SECONDS,
            ).json()
            for item in items:
                round = item["body"].get("round")
                told = Told(item["id"], item["notification_type"], round)
                if told.id <= last:
                    self._journal.complain(self._client.who, f"{told} again, after {last}")
                last = told.id
                self._journal.told[self.place].append(told)
                if told.type == "TRAINING_FINISHED":
                    return
                self._answer(told)

    def _answer(self, told: Told) -> None:
        """Do what was asked; rounds of models are one above the rounds that made them."""
        match told.type, told.round:
            case "TRAINING_START", _:
                pass
            case "UPDATE_ROUND_START", int(round):
                self._train(round)
            case "SWAG_ROUND_START", int(round):
                self._send_moments(round - 1)
            case "MODEL_TEST_ROUND", int(round):
                self._report(round - 1)
            case _:
                self._journal.complain(self._client.who, f"told {told}")
                raise WentWrongError

    def _train(self, round: int) -> None:
        base = read_model(self._download(round))
        if (difference := first_difference(base, self._course[round])) is not None:
            self._journal.complain(self._client.who, f"model of round {round}: {difference}")
            raise WentWrongError
        content = update_file(self._lessons.trained(base, round, self.place))
        size = self._lessons.sample_sizes[self.place]
        body = multipart({"round": round, "sample_size": size}, {"model_file": content})
        self._send(f"upload of round {round}", self._model, body, Moment.UPLOAD, round)
        accepted = Accepted((hashlib.sha256(content).hexdigest(),), size)
        self._journal.keep(self._journal.updates, round, self.place, accepted)
        self._journal.note(self._client.who, f"201 for its update of round {round}")
        self._passage(Moment.ACCEPTED, round)

    def _send_moments(self, round: int) -> None:
        files = [moment_file(moment) for moment in self._lessons.moments(round, self.place)]
        size = self._lessons.sample_sizes[self.place]
        body = multipart(
            {"round": round + 1, "sample_size": size},
            dict(zip(("first_moment_file", "second_moment_file"), files, strict=True)),
        )
        path = f"{self._model}swag/"
        self._send(f"moments of round {round}", path, body, Moment.MOMENTS, round)
        digests = tuple(hashlib.sha256(file).hexdigest() for file in files)
        self._journal.keep(self._journal.moments, round, self.place, Accepted(digests, size))
        self._journal.note(self._client.who, f"201 for its moments of round {round}")
        self._passage(Moment.MOMENTS_ACCEPTED, round)

    def _report(self, round: int) -> None:
        self._passage(Moment.ASKED_TO_TEST, round)
        value = round + self.place / 8
        form = {"metric_names": "accuracy", "metric_values": str(value)}
        self._client.insist(
            f"report of round {round}",
            201,
            lambda http: http.post(f"{self._model}metrics/", data=form),
        )
        self._journal.reports[round, self.place] = value
        self._journal.note(self._client.who, f"201 for its report of round {round}")
        self._passage(Moment.REPORTED, round)

    def _download(self, round: int) -> bytes:
        reach = self._once(round)

        def ask(http: httpx.Client) -> httpx.Response:
            with http.stream("GET", self._model) as answer:
                chunks = []
                for chunk in answer.iter_bytes():
                    if answer.status_code == 200:
                        reach(Moment.DOWNLOAD)
                    chunks.append(chunk)
            return httpx.Response(answer.status_code, content=b"".join(chunks))

        return self._client.insist(f"download of round {round}", 200, ask).content

    def _send(self, what: str, path: str, body: bytes, moment: Moment, round: int) -> None:
        reach = self._once(round)

        def parts() -> Iterator[bytes]:
            yield body[: len(body) // 2]
            reach(moment)
            yield body[len(body) // 2 :]
            if moment == Moment.UPLOAD:
                reach(Moment.UNANSWERED)

        headers = {**FORM, "Content-Length": str(len(body))}
        self._client.insist(
            what, 201, lambda http: http.post(path, content=parts(), headers=headers)
        )

    def _once(self, round: int) -> Callable[[Moment], None]:
        """Says how far this participant is, when it is so far for the first time.

        That may be at a later attempt: what is killed for others can end the first before.
        """
        reached: set[Moment] = set()

        def reach(moment: Moment) -> None:
            if moment not in reached:
                reached.add(moment)
                self._passage(moment, round)

        return reach


def multipart(fields: Mapping[str, object], files: Mapping[str, bytes]) -> bytes:
    """A form's body; made here because it is sent in parts, at moments of our choosing."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts += [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
