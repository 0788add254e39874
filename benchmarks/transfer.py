"""Uploads and downloads of 100 MB beside bare servers, and how responsive the API stays meanwhile.

The server is a real one with its embedded Ray. An upload counts from the first byte that is sent
until 201: received, hashed, checked by compute, fsynced and recorded. What the accepted update sets
off (it is folded) is waited for before the next measurement begins.
"""

import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from safetensors.torch import save
from torch import nn

from benchmarks.limits import hash_seconds, write_seconds
from benchmarks.measurement import Series, alternate
from benchmarks.raw_http import Answer, connect, exchange
from benchmarks.report import Figure, Report, figure, report
from benchmarks.sinks import sinks
from compute.blobs import open_blob_store
from compute.checks import check
from compute.contract import CheckUpdate
from tests.federations import People, Person, accepted_model, training_order
from tests.model_files import torchscript
from tests.servers import Server, free_port

LAYERS = 10
WIDTH = 2500
AT_ONCE = 10
PROBE_SECONDS = 0.01
QUIET_SECONDS = 0.3
BOUNDARY = "5tarling5tarling5tarling"


@dataclass
class _Training:
    """A training whose round never fills, and the participants who have not delivered yet.

    Attributes:
        idle_bytes: Resident memory of the web process before anything was sent to it.
    """

    server: Server
    actor: Person
    model_id: str
    content: bytes
    waiting: list[Person]
    idle_bytes: int
    sent: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def next_update(self) -> tuple[Person, list[memoryview]]:
        """A participant who has not delivered, and bytes that nobody has sent yet, in two parts."""
        with self.turn:
            self.sent += 1
            last = struct.pack("<f", float(self.sent))
            return self.waiting.pop(), [memoryview(self.content)[: -len(last)], memoryview(last)]

    def native(self) -> float:
        """Seconds that one upload by the native path takes."""
        person, content = self.next_update()
        path = f"/api/models/{self.model_id}/updates/0/?sample_size=10"
        headers = {"Content-Type": "application/vnd.safetensors", **_token(person)}
        return _accepted(self.server.port, "PUT", path, headers, content)

    def multipart(self) -> float:
        """Seconds that one upload as a form takes."""
        person, content = self.next_update()
        fields = {"round": "0", "sample_size": "10"}
        opening = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        opening += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model_file"; '
            'filename="update"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        closing = f"\r\n--{BOUNDARY}--\r\n"
        parts = [memoryview(opening.encode()), *content, memoryview(closing.encode())]
        headers = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            **_token(person),
        }
        return _accepted(self.server.port, "POST", f"/api/models/{self.model_id}/", headers, parts)

    def check(self) -> float:
        """Seconds that compute's check of an update takes by itself, in this process."""
        store = open_blob_store((self.server.data_dir / "blobs").as_uri())
        versions = self.actor.client.get(f"/api/models/{self.model_id}/versions/").json()
        writer = store.stage()
        writer.write(self.content)
        staged = writer.finish()
        try:
            started = time.perf_counter()
            check(store, CheckUpdate(key=staged.key, base_key=versions[0]["digest"]))
            return time.perf_counter() - started
        finally:
            store.discard(staged)

    def download(self) -> float:
        """Seconds that one download of the model takes, in the container it was uploaded in."""
        return _fetched(self.server.port, f"/api/models/{self.model_id}/", _token(self.actor))


def measure(*, quick: bool) -> Report:
    """Answer the question; `quick`: a tenth of the size, and fewer repetitions."""
    width = WIDTH // 10 if quick else WIDTH
    repetitions = 2 if quick else 5
    bursts = 1 if quick else 3
    # As a compute worker has it, with one CPU.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="starling-transfer-") as folder:
        needed = 2 * (repetitions + 1) + bursts * AT_ONCE
        with _training(Path(folder), width, needed) as training:
            size_bytes = len(training.content)
            port = free_port()
            with sinks(port, Path(folder), size_bytes):
                figures = _transfers(training, port, Path(folder), repetitions)
            figures += _bursts(training, bursts)
    return report(
        "transfer",
        f"Transfers of {size_bytes / 1e6:.0f} MB",
        figures,
        "Uploads: from connecting to 201, with hash, check by compute, write, fsync and commit.",
        "The sinks are uvicorn with an ASGI application of a few lines, in a process of their own.",
        f"Responsiveness: GET /health/live every {PROBE_SECONDS * 1e3:.0f} ms over one connection; "
        "for a slow one, those that would have come meanwhile count too.",
    )


def _transfers(training: _Training, port: int, folder: Path, repetitions: int) -> list[Figure]:
    content = training.content
    view = memoryview(content)
    process = psutil.Process(training.server.process.pid)

    def quiet(seconds: float) -> float:
        _wait_until_quiet(process)
        return seconds

    found = alternate(
        {
            "native": lambda: quiet(training.native()),
            "kept": lambda: _accepted(port, "PUT", "/keep", {}, [view]),
            "multipart": lambda: quiet(training.multipart()),
            "dropped": lambda: _accepted(port, "PUT", "/drop", {}, [view]),
            "raw": lambda: _raw_seconds(port + 1, view),
            "download": training.download,
            "memory": lambda: _fetched(port, "/memory", {}),
            "check": training.check,
            "hash": lambda: hash_seconds(content),
            "disk": lambda: write_seconds(content, folder),
        },
        repetitions=repetitions,
    )
    return [
        figure(
            "upload, native path",
            "s",
            found["native"],
            beside_name="uvicorn sink: receive, hash, write, fsync",
            beside=found["kept"],
            ratio_name="of its speed",
            ratio=found["kept"].median / found["native"].median,
            at_least=0.6,
        ),
        figure(
            "upload, multipart",
            "s",
            found["multipart"],
            beside_name="uvicorn sink: receive, hash, write, fsync",
            beside=found["kept"],
            ratio_name="of its speed",
            ratio=found["kept"].median / found["multipart"].median,
            at_least=0.4,
        ),
        figure(
            "download",
            "s",
            found["download"],
            beside_name="uvicorn, the same number of bytes from memory",
            beside=found["memory"],
            ratio_name="of its speed",
            ratio=found["memory"].median / found["download"].median,
            at_least=0.7,
        ),
        figure("of an upload: the check by compute, by itself", "s", found["check"]),
        figure("limit: uvicorn that drops", "s", found["dropped"]),
        figure("limit: raw asyncio socket that drops", "s", found["raw"]),
        figure("limit: SHA-256", "s", found["hash"]),
        figure("limit: write and fsync", "s", found["disk"]),
    ]


def _bursts(training: _Training, bursts: int) -> list[Figure]:
    """Probes and memory while several uploads run at once."""
    process = psutil.Process(training.server.process.pid)
    _wait_until_quiet(process)
    probes: list[list[float]] = []
    peaks: list[float] = []
    lasted: list[float] = []
    for _ in range(bursts):
        watch = _Watch(training.server)
        started = time.perf_counter()
        senders = [threading.Thread(target=training.native) for _ in range(AT_ONCE)]
        with watch:
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join()
        lasted.append(time.perf_counter() - started)
        probes.append(sorted(watch.latencies))
        peaks.append((watch.peak_bytes - training.idle_bytes) / 1024**2)
        _wait_until_quiet(process)
    p99 = [latencies[int(len(latencies) * 0.99)] * 1e3 for latencies in probes]
    p50 = [latencies[len(latencies) // 2] * 1e3 for latencies in probes]
    worst = [latencies[-1] * 1e3 for latencies in probes]
    during = f"during {AT_ONCE} uploads at once"
    return [
        figure(f"GET /health/live p99 {during}", "ms", Series(tuple(p99)), at_most=50),
        figure(f"GET /health/live p50 {during}", "ms", Series(tuple(p50))),
        figure(f"GET /health/live worst {during}", "ms", Series(tuple(worst))),
        figure(f"web process above idle {during}", "MiB", Series(tuple(peaks)), at_most=64),
        figure("web process, idle", "MiB", Series((training.idle_bytes / 1024**2,))),
        figure(f"{AT_ONCE} uploads at once, until the last 201", "s", Series(tuple(lasted))),
    ]


class _Watch:
    """Probes a server and looks at its memory while a block runs."""

    def __init__(self, server: Server) -> None:
        self.latencies: list[float] = []
        self.peak_bytes = 0
        self._server = server
        self._process = psutil.Process(server.process.pid)
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._probe),
            threading.Thread(target=self._weigh),
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _probe(self) -> None:
        with connect(self._server.port) as connection:
            while not self._ended.is_set():
                asked = time.perf_counter()
                exchange(connection, "GET", "/health/live", {})
                latency = time.perf_counter() - asked
                # Who would have asked while this one waited would have waited for the rest of it.
                self.latencies.append(latency)
                while (latency := latency - PROBE_SECONDS) > 0:
                    self.latencies.append(latency)
                time.sleep(PROBE_SECONDS)

    def _weigh(self) -> None:
        while not self._ended.wait(PROBE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)


@contextmanager
def _training(folder: Path, width: int, participants: int) -> Iterator[_Training]:
    server = Server(folder / "server", environment={"STARLING_RAY_DASHBOARD": "false"})
    people = People(server)
    try:
        server.start_and_wait()
        process = psutil.Process(server.process.pid)
        _wait_until_quiet(process)
        idle_bytes = process.memory_info().rss
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Linear(width, 1000, bias=False) for _ in range(LAYERS)))
        actor = people("actor", actor=True)
        model_id = accepted_model(actor, torchscript(model))
        # One more than deliver: the round stays open.
        members = [people("participant", client=True) for _ in range(participants + 1)]
        order = training_order(
            model_id, target_num_updates=1, clients=[member.id for member in members]
        )
        created = actor.client.post("/api/trainings/", json=order)
        created.raise_for_status()
        started = actor.client.post(f"/api/trainings/{created.json()['training_id']}/start/")
        started.raise_for_status()
        yield _Training(
            server, actor, model_id, save(dict(model.state_dict())), members, idle_bytes
        )
    finally:
        people.close()
        server.stop()


def _accepted(
    port: int, method: str, path: str, headers: dict[str, str], body: list[memoryview]
) -> float:
    started = time.perf_counter()
    with connect(port) as connection:
        answer = exchange(connection, method, path, headers, body)
    seconds = time.perf_counter() - started
    _require(answer)
    return seconds


def _fetched(port: int, path: str, headers: dict[str, str]) -> float:
    started = time.perf_counter()
    with connect(port) as connection:
        answer = exchange(connection, "GET", path, headers, is_kept=False)
    seconds = time.perf_counter() - started
    _require(answer)
    return seconds


def _raw_seconds(port: int, content: memoryview) -> float:
    started = time.perf_counter()
    with connect(port) as connection:
        connection.sendall(content)
        connection.recv(4)
    return time.perf_counter() - started


def _require(answer: Answer) -> None:
    if answer.status >= 300:
        message = f"{answer.status}: {answer.body[:500]!r}"
        raise RuntimeError(message)


def _token(person: Person) -> dict[str, str]:
    return {"Authorization": f"Token {person.token}"}


def _wait_until_quiet(process: psutil.Process) -> None:
    """Return when server and compute have done what the last request set off."""
    while _cpu_seconds(process, QUIET_SECONDS) > 0.1 * QUIET_SECONDS:
        pass


def _cpu_seconds(process: psutil.Process, during_seconds: float) -> float:
    """What the process and its descendants use in that time."""
    family = [process, *process.children(recursive=True)]
    before = _spent(family)
    time.sleep(during_seconds)
    return _spent(family) - before


def _spent(family: list[psutil.Process]) -> float:
    spent = 0.0
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        spent += times.user + times.system
    return spent
