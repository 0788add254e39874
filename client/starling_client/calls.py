"""Operations: what is asked of the server in which order, without doing any of it.

An operation is a generator. It yields what it wants done, a `Call` or a `Wait`, is sent the answer,
and returns its result. `Connection` runs operations, `AsyncConnection` awaits the same ones, so
that everything is written, and tested, once.
"""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, TypeVar

import httpx
import msgspec

from starling_client.errors import WrongAddress

T = TypeVar("T")

TIMEOUT_SECONDS = 60.0
# Of what the server looks through before it answers: models, updates, inputs.
CHECKED_TIMEOUT_SECONDS = 600.0


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a request, which may be sent again: it begins anew each time it is iterated."""

    size_bytes: int


class Sink(Protocol):
    """Takes the body of an answer as it arrives."""

    def headers(self) -> Mapping[str, str]:
        """What to ask for now, after what has arrived already."""

    def receiving(
        self, answer: httpx.Response
    ) -> contextlib.AbstractContextManager[Callable[[bytes], None]]:
        """Open for the body of an answer: gives what takes its chunks.

        Leaving it raises `DamagedTransfer` when what has arrived is not what it should be.
        """


@dataclass(frozen=True)
class Call:
    """A request to the server; the answer is a success, anything else is raised.

    Attributes:
        files: Files of a multipart form, by field, as bytes or as a file to be read.
        sink: Where the body of the answer goes.
        repeatable: Sending it twice does as sending it once; otherwise it is only sent again when
            it certainly had no effect.
        retried: False: whoever asks deals with what is temporary.
    """

    method: str
    path: str
    params: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    form: Mapping[str, object] | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    body: Body | None = None
    sink: Sink | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    repeatable: bool = True
    retried: bool = True

    @contextlib.contextmanager
    def request(self, client: httpx.Client | httpx.AsyncClient) -> Iterator[httpx.Request]:
        """A fresh request; the files in it are open meanwhile."""
        with contextlib.ExitStack() as opened:
            files: list[tuple[str, tuple[str, bytes | IO[bytes]]]] = [
                (
                    name,
                    (name, opened.enter_context(f.open("rb")) if isinstance(f, Path) else f),
                )
                for name, f in self.files.items()
            ]
            headers = {**self.headers, **(self.sink.headers() if self.sink else {})}
            request = client.build_request(
                self.method,
                self.path,
                params=dict(self.params) or None,  # type: ignore[arg-type] # httpx looks into lists
                headers=headers,
                json=self.json,
                data=self.form,
                files=files or None,
                timeout=httpx.Timeout(TIMEOUT_SECONDS, read=self.timeout_seconds),
            )
            if self.body is not None:
                request.stream = self.body
                request.headers["Content-Length"] = str(self.body.size_bytes)
            yield request


@dataclass(frozen=True)
class Wait:
    """Go on after so many seconds, or as soon as it is woken."""

    seconds: float
    woken: threading.Event = field(default_factory=threading.Event)


# What an operation is sent after a `Wait`.
NOTHING = httpx.Response(204)

Operation = Generator[Call | Wait, httpx.Response, T]


def fetch(call: Call, kind: type[T]) -> Operation[T]:
    """The JSON of the answer, as a value of `kind`.

    Raises:
        WrongAddress: the answer is not what a Starling server says.
    """
    answer = yield call
    return decoded(answer, kind)


def decoded(answer: httpx.Response, kind: type[T]) -> T:
    """The JSON of an answer. Raises as `fetch`."""
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise WrongAddress(
            f"{answer.url} answers, but not as a Starling server does ({error}). Is it the right "
            "address, and does the version of the server fit this client?"
        ) from error


def metric_fields(metrics: Mapping[str, float]) -> dict[str, Sequence[str]]:
    """Metrics as the fields of a form or query; floats are written so that they are read back."""
    if not metrics:
        return {}
    return {
        "metric_names": list(metrics),
        "metric_values": [repr(float(value)) for value in metrics.values()],
    }
