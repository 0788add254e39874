"""The process of `starling serve`: starts the parts, serves, and ends in time."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Collection
from types import FrameType

import asyncpg
import click
import msgspec
import psutil
import uvicorn

from backend.app import create_app
from backend.audit.feed import AuditFeed
from backend.data_dir import DataDir, open_data_dir, write_private
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.errors import BadSetting, DatabaseUnavailable, StartupError
from backend.http_methods import answer_head, override_method
from backend.notifications.feed import Feed
from backend.settings import Settings
from backend.uploads.protocol import UPLOADS_PATH
from compute.blobs import BlobError, BlobStore, open_blob_store

logger = logging.getLogger(__name__)

GRACEFUL_SHUTDOWN_SECONDS = 5
LONGEST_SHUTDOWN_SECONDS = 11
KILLED_SECONDS = 1
# Longer than httpx (5) and nginx (60) keep a connection that nobody uses: or they would send a
# request over it just as it is closed.
IDLE_CONNECTION_SECONDS = 75
BACKLOG = 2048
OPEN_FILES = 65536
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        StartupError: the server cannot start; says why in a line.
    """
    data_dir = open_data_dir(settings.storage.data_dir)
    try:
        _serve(settings, data_dir)
    finally:
        data_dir.close()


def _serve(settings: Settings, data_dir: DataDir) -> None:
    _configure_logging(debug=settings.http.debug)
    _allow_open_files()
    listener = _listen(settings)
    # Port 0 asks for any free one: from here on, settings tell which.
    http = msgspec.structs.replace(settings.http, port=listener.getsockname()[1])
    settings = msgspec.structs.replace(settings, http=http)
    asyncio.run(_prepare_database(settings))

    from compute.cluster import RayConfig, dashboard_token, dashboard_url
    from compute.ray_gateway import RayGateway

    def on_compute_ready() -> None:
        # Ray's handlers, set below Python's while it connected, would print a stack trace.
        for number in STOP_SIGNALS:
            signal.signal(number, signal.getsignal(number))
        entry = {"url": dashboard_url(), "token": dashboard_token()}
        path = data_dir.path / "ray-dashboard.json"
        write_private(path, msgspec.json.encode(entry).decode())
        # All is loaded, and stays: the collector would look through it for 50 ms, and nobody else
        # would be answered meanwhile.
        gc.freeze()

    gateway = RayGateway(
        RayConfig(
            blob_url=settings.storage.blobs,
            address=settings.compute.ray_address,
            include_dashboard=settings.compute.dashboard,
            dashboard_port=settings.compute.dashboard_port,
            check_timeout_seconds=settings.compute.check_timeout_seconds,
            predict_timeout_seconds=settings.compute.predict_timeout_seconds,
            keep_ready=settings.compute.keep_ready,
        ),
        on_stuck=lambda: _start_again(settings.http.port),
    )
    if settings.http.debug and not settings.http.listens_on_loopback:
        logger.warning("debug mode: anybody who reaches this server can sign in as dummy-user")
    app = create_app(
        settings,
        blobs=_open_blobs(settings),
        secret=settings.secret or data_dir.secret(),
        gateway=gateway,
        on_compute_ready=on_compute_ready,
    )
    server = _StoppableServer(
        uvicorn.Config(
            override_method(answer_head(app), below=UPLOADS_PATH),
            log_config=None,
            access_log=settings.http.debug,
            timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
            timeout_keep_alive=IDLE_CONNECTION_SECONDS,
            server_header=False,
            # uvicorn would believe X-Forwarded-For from this machine by itself.
            proxy_headers=bool(settings.access.trusted_proxies),
            forwarded_allow_ips=list(settings.access.trusted_proxies),
            ws="none",
            lifespan="on",
        ),
        app.state.feeds,
    )
    # uvicorn raises the signal that ended it once more: by then it has done its work.
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    click.echo(f"Starling listens on {settings.http.base_url} (data in {data_dir.path})", err=True)
    server.run(sockets=[listener])
    if not server.started:
        raise StartupError("The server could not start; the log above says why.")


class _StoppableServer(uvicorn.Server):
    """A server that Ray lets end in its own time, and that waits for nobody who waits for news."""

    def __init__(self, config: uvicorn.Config, feeds: Collection[Feed | AuditFeed]) -> None:
        super().__init__(config)
        self._feeds = feeds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the requests that wait, then those that work, then the application."""
        for feed in self._feeds:
            feed.end()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown."""
        # Ray's handler ran first, if it was set: it has the process aborted three seconds later.
        signal.alarm(0)
        if not self.should_exit:
            timer = threading.Timer(LONGEST_SHUTDOWN_SECONDS, _end_now)
            timer.daemon = True
            timer.start()
        super().handle_exit(sig, frame)


def _end_now() -> None:
    """End this process and all that it started.

    Nothing interrupts Ray while it starts or looks for its cluster, which may take a minute. What
    is lost can be lost: the database and the blobs are the only truth.
    """
    logger.warning("the shutdown takes too long; it is cut short")
    _kill_descendants()
    os._exit(0)


def _allow_open_files() -> None:
    """Let this process have a connection per participant; many systems begin with 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _start_again(port: int) -> None:
    """Replace this process by a new one with the same command line, on the same port.

    What a crash costs is what this costs: the database and the blobs are the only truth.
    """
    logger.critical("the server cannot go on, for Ray waits in it for ever; it starts again")
    _kill_descendants()
    logging.shutdown()
    os.execv(sys.executable, [*sys.orig_argv, "--port", str(port)])  # noqa: S606 - this program


def _kill_descendants() -> None:
    descendants = psutil.Process().children(recursive=True)
    for process in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(descendants, timeout=KILLED_SECONDS)


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.http.host, settings.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartupError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. "
            "Choose another --port or --host."
        ) from error
    listener.listen(BACKLOG)
    return listener


def _open_blobs(settings: Settings) -> BlobStore:
    try:
        return open_blob_store(settings.storage.blobs)
    except (ValueError, BlobError) as error:
        raise StartupError(f"The blob store cannot be used: {error}.") from error


async def _prepare_database(settings: Settings) -> None:
    try:
        database = Database(settings.storage.database)
    except ValueError as error:
        raise BadSetting(f"STARLING_DATABASE_URL is no usable URL: {error}.") from error
    try:
        await database.open()
        await migrate()
    except (DatabaseUnavailable, asyncpg.PostgresError, sqlite3.Error) as error:
        raise StartupError(f"The database cannot be used: {error}.") from error
    finally:
        await database.close()


def _configure_logging(*, debug: bool) -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for library in ("httpx", "piccolo"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # It warns of each repeat without saying of what; who repeats says it.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    for package in ("backend", "compute"):
        logging.getLogger(package).setLevel(logging.DEBUG if debug else logging.INFO)
