"""From process start to the first answer, and what the process weighs when nothing happens."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from benchmarks.measurement import Case, Series, alternate
from benchmarks.report import Report, figure, report
from tests.servers import REPOSITORY, Server, free_port, short_temporary_folder

REPETITIONS = 5
WEIGHINGS = 3
IDLE_SECONDS = 30.0
MOST_SECONDS = 3.0
MOST_MEMORY_MIB = 150.0
DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.01
LIBRARIES = "litestar, piccolo, httpx"
_MIB = 1024**2
_RESIDENT = "import psutil; print(psutil.Process().memory_info().rss)"


def measure(*, quick: bool) -> Report:
    """Start and stop servers in turns; weigh some after half a minute."""
    with short_temporary_folder("bench") as folder:
        again = folder / "again"
        with _answering(again, {}):
            pass  # makes the database
        fresh = (folder / f"fresh-{k}" for k in range(100))
        cases: dict[str, Case] = {
            "again": lambda: _seconds_to_live(again),
            "fresh": lambda: _seconds_to_live(next(fresh)),
            "hello": _hello_seconds,
            "imports": _import_seconds,
        }
        series = alternate(cases, repetitions=2 if quick else REPETITIONS)
        weights = [
            _weigh(again, 2.0 if quick else IDLE_SECONDS) for _ in range(1 if quick else WEIGHINGS)
        ]
    libraries = Series((_resident_mib(f"import {LIBRARIES}; {_RESIDENT}"),))
    driver = Series((_resident_mib(f"import {LIBRARIES}, ray; {_RESIDENT}"),))
    return report(
        "start",
        "Start, and the idle web process",
        [
            figure(
                "`starling serve` to the first 200 from /health/live",
                "s",
                series["again"],
                beside_name="a bare uvicorn with Litestar",
                beside=series["hello"],
                at_most=MOST_SECONDS,
            ),
            figure(
                "the same with an empty data directory",
                "s",
                series["fresh"],
                beside_name=f"import {LIBRARIES}",
                beside=series["imports"],
                at_most=MOST_SECONDS,
            ),
            figure(
                "resident memory, idle, Ray connected",
                "MiB",
                Series(tuple(resident for resident, _, _ in weights)),
                beside_name=f"import {LIBRARIES}",
                beside=libraries,
                at_most=MOST_MEMORY_MIB,
            ),
            figure(
                "of that not shared with other processes",
                "MiB",
                Series(tuple(unique for _, unique, _ in weights)),
                beside_name="those and ray imported, not connected",
                beside=driver,
            ),
            figure(
                "until Ray takes work",
                "s",
                Series(tuple(ready for _, _, ready in weights)),
            ),
        ],
        "SQLite; Ray embedded, without dashboard, starts behind the API.",
        f"Memory after {IDLE_SECONDS:.0f} s in which nothing was asked (2 s with --quick).",
    )


@contextmanager
def _answering(data_dir: Path, environment: dict[str, str]) -> Iterator[tuple[Server, float]]:
    """A server as soon as it answers, and how long that took."""
    server = Server(data_dir, environment={"STARLING_RAY_DASHBOARD": "false", **environment})
    try:
        started = time.perf_counter()
        server.start()
        _wait_for_answer(server.url, server.process)
        yield server, time.perf_counter() - started
        server.stop()
    finally:
        server.kill_if_running()


def _seconds_to_live(data_dir: Path) -> float:
    with _answering(data_dir, {}) as (server, seconds):
        # Stopping a Ray that has not come up takes longer than letting it.
        server.wait_until_answers("/health/ready", 200)
    return seconds


def _hello_seconds() -> float:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.hello", str(port)]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPOSITORY)  # noqa: S603
    try:
        _wait_for_answer(f"http://127.0.0.1:{port}", process)
        return time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def _import_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)  # noqa: S603
    return time.perf_counter() - started


def _wait_for_answer(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get("/health/live").is_success:
                    return
            except httpx.TransportError:
                time.sleep(PAUSE_SECONDS)
    message = f"{url} did not answer"
    raise TimeoutError(message)


def _weigh(data_dir: Path, idle_seconds: float) -> tuple[float, float, float]:
    """Resident and unique memory in MiB, and seconds until Ray was ready."""
    started = time.perf_counter()
    with _answering(data_dir, {}) as (server, _):
        server.wait_until_answers("/health/ready", 200)
        ready_seconds = time.perf_counter() - started
        time.sleep(idle_seconds)
        memory = psutil.Process(server.process.pid).memory_full_info()
        return memory.rss / _MIB, memory.uss / _MIB, ready_seconds


def _resident_mib(program: str) -> float:
    command: Sequence[str] = [sys.executable, "-c", program]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return int(ended.stdout) / _MIB
