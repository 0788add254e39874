"""The ways in which parts of a running server are taken away."""

import asyncio
import contextlib
import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil

from tests.chaos.chaos_server import ChaosServer
from tests.chaos.scenarios import Kill
from tests.chaos.truth import SQLITE_FILE, Truth
from tests.servers import PostgreSQL

AGGREGATOR = "ray::AggregatorActor"
WORKER = "ray::"
# Ray names its own services like workers; the raylet dies with them.
SERVICES = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
# Of any file while the disk is "full": less than any update or database page needs.
FULL_DISK_BYTES = 2048
LOCK_TIMEOUT_SECONDS = 30.0
# In a shorter one PostgreSQL ends its connections, in a longer one it crashes.
SHORT_OUTAGE_SECONDS = 1.0
STOP_ATTEMPTS = 3


class Killer:
    """Takes parts of one server away, one at a time; says in which phase the training was."""

    def __init__(self, server: ChaosServer, truth: Truth, postgresql: PostgreSQL | None) -> None:
        self._server = server
        self._truth = truth
        self._postgresql = postgresql
        self._one_at_a_time = threading.Lock()

    def kill(self, kind: Kill, training_id: str, lasting_seconds: float) -> tuple[str, str]:
        """Phase that the training was in, and what was done, in words.

        Returns when what was taken away may come back: the backend was started again (and may not
        answer yet), the database answers, the disk has room.
        """
        with self._one_at_a_time:
            match kind:
                case Kill.BACKEND:
                    return self._backend(training_id, lasting_seconds)
                case Kill.AGGREGATOR:
                    return self._workers(training_id, aggregators=True)
                case Kill.WORKER:
                    return self._workers(training_id, aggregators=False)
                case Kill.RAY:
                    return self._ray(training_id)
                case Kill.DATABASE if self._postgresql is None:
                    return self._lock_sqlite(training_id, lasting_seconds)
                case Kill.DATABASE:
                    return self._end_connections(training_id, lasting_seconds)
                case Kill.DISK:
                    return self._fill_disk(training_id, lasting_seconds)

    def hold_aggregators(self) -> None:
        """Stop the aggregators, so that the next round stays in the phase that waits for them."""
        for process in self._named(AGGREGATOR):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def let_aggregators_go(self) -> None:
        """Let them go on, those that still live."""
        for process in self._named(AGGREGATOR):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _backend(self, training_id: str, lasting_seconds: float) -> tuple[str, str]:
        with self._stopped(training_id) as phase:
            self._server.kill()
        self._server.look_while_dead()
        time.sleep(lasting_seconds / 4)
        self._server.start()
        return phase, "SIGKILL of the server, started again"

    def _workers(self, training_id: str, *, aggregators: bool) -> tuple[str, str]:
        with self._stopped(training_id) as phase:
            victims = [
                process
                for process in self._named(WORKER)
                if not _title(process).startswith(SERVICES)
                and _title(process).startswith(AGGREGATOR) == aggregators
            ]
            return phase, f"SIGKILL of {_killed(victims)}"

    def _ray(self, training_id: str) -> tuple[str, str]:
        with self._stopped(training_id) as phase:
            return phase, f"SIGKILL of {_killed(self._descendants())}"

    def _lock_sqlite(self, training_id: str, lasting_seconds: float) -> tuple[str, str]:
        phase = self._truth.phase(training_id)
        path = self._server.data_dir / SQLITE_FILE
        with contextlib.closing(
            sqlite3.connect(path, timeout=LOCK_TIMEOUT_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(lasting_seconds)
            connection.execute("ROLLBACK")
        return phase, f"nobody else could write to the database for {lasting_seconds:.1f} s"

    def _end_connections(self, training_id: str, lasting_seconds: float) -> tuple[str, str]:
        if self._postgresql is None:
            raise ValueError("There is no PostgreSQL.")
        with self._stopped(training_id) as phase:
            if lasting_seconds < SHORT_OUTAGE_SECONDS:
                asyncio.run(_terminate_connections(str(self._server.database_url)))
                return phase, "PostgreSQL ended every connection"
            self._postgresql.kill()
        time.sleep(lasting_seconds / 4)
        self._postgresql.start()
        return phase, "PostgreSQL was killed and started again"

    def _fill_disk(self, training_id: str, lasting_seconds: float) -> tuple[str, str]:
        phase = self._truth.phase(training_id)
        writers = [psutil.Process(self._server.process.pid), *self._named(WORKER)]
        for process in writers:
            _limit_files(process, FULL_DISK_BYTES)
        try:
            time.sleep(lasting_seconds)
        finally:
            # What was started meanwhile inherited the limit.
            for process in {*writers, *self._descendants()}:
                _limit_files(process, None)
        return phase, f"no file could grow for {lasting_seconds:.1f} s"

    @contextlib.contextmanager
    def _stopped(self, training_id: str) -> Iterator[str]:
        """Stop the server for the block, so that the phase read is the one that the kill hits."""
        process = psutil.Process(self._server.process.pid)
        phase = self._phase_when_stopped(process, training_id)
        try:
            yield phase
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def _phase_when_stopped(self, process: psutil.Process, training_id: str) -> str:
        for _ in range(STOP_ATTEMPTS):
            process.suspend()
            try:
                return self._truth.phase(training_id)
            except BaseException as error:
                process.resume()
                # Who closes SQLite's last connection locks the file for an instant: then stopped,
                # it would lock it for ever.
                if not isinstance(error, sqlite3.OperationalError):
                    raise
        message = f"The database was locked each time of {STOP_ATTEMPTS}."
        raise RuntimeError(message)

    def _descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._server.process.pid).children(recursive=True)
        return []

    def _named(self, prefix: str) -> list[psutil.Process]:
        return [process for process in self._descendants() if _title(process).startswith(prefix)]


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return (process.cmdline() or [""])[0]
    return ""


def _killed(victims: list[psutil.Process]) -> str:
    """Kill them all at once; their names."""
    names = [_title(victim) or "a process" for victim in victims]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    return ", ".join(sorted(Path(name).name for name in names)) or "nothing: none was there"


def _limit_files(process: psutil.Process, size_bytes: int | None) -> None:
    """Let no file that the process writes grow beyond a size; None lifts the limit."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        _, hard = process.rlimit(resource.RLIMIT_FSIZE)
        process.rlimit(resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))


async def _terminate_connections(url: str) -> None:
    administrator = await asyncpg.connect(url)
    try:
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await administrator.close()
