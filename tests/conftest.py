"""Fixtures that start the real parts once and share them."""

import functools
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest
from xdist.remote import Producer

from tests import distribution, leftovers
from tests.federations import MakeFederation, People, new_federation
from tests.servers import LEAN, PostgreSQL, RayCluster, Server, short_temporary_folder
from tests.webhooks import WebhookReceiver

LOG_TAIL_CHARACTERS = 6000

_log_positions = pytest.StashKey[dict[Server, int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGTERM end the tests like Ctrl-C, with the processes that they started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not distribution.is_worker(config):
        leftovers.mark()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not distribution.is_worker(config):
        leftovers.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: distribution.turn_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return distribution.workers(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> distribution.ByServer:
    return distribution.ByServer(config, log)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    with short_temporary_folder("ray") as folder:
        cluster = RayCluster(folder)
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with short_temporary_folder("pg") as folder:
        database = PostgreSQL(folder)
        try:
            yield database
        finally:
            database.stop()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest,
    ray_cluster: RayCluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A ready server; every test that asks for one runs on both databases."""
    database_url = None
    if request.param == "postgresql":
        database_url = request.getfixturevalue("postgresql").new_database()
    server = Server(
        tmp_path_factory.mktemp("server") / request.param,
        environment=ray_cluster.environment(),
        database_url=database_url,
    )
    server.start_and_wait()
    yield server
    server.stop()


class ServerMaker:
    """Makes servers of a test's own on the shared cluster."""

    def __init__(self, cluster: RayCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self.made: list[Server] = []

    def __call__(
        self,
        environment: dict[str, str] | None = None,
        *,
        database_url: str | None = None,
        shared_cluster: bool = True,
    ) -> Server:
        """A server on a new data directory; `shared_cluster=False`: it embeds Ray."""
        cluster = self._cluster.environment() if shared_cluster else {}
        server = Server(
            self._folder / f"server-{len(self.made)}",
            environment={**LEAN, **cluster, **(environment or {})},
            database_url=database_url,
        )
        self.made.append(server)
        return server


@pytest.fixture
def new_server(ray_cluster: RayCluster, tmp_path: Path) -> Iterator[ServerMaker]:
    maker = ServerMaker(ray_cluster, tmp_path)
    yield maker
    for server in maker.made:
        server.kill_if_running()


@pytest.fixture(scope="session")
def webhooks() -> Iterator[WebhookReceiver]:
    """One receiver for all tests: nobody's endpoint goes away while a server still sends."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def anonymous(server: Server) -> Iterator[httpx.Client]:
    """A client without credentials."""
    with server.client() as client:
        yield client


@pytest.fixture
def make_user(server: Server) -> Iterator[People]:
    people = People(server)
    yield people
    people.close()


@pytest.fixture
def make_federation(make_user: People, webhooks: WebhookReceiver) -> MakeFederation:
    return functools.partial(new_federation, make_user, webhooks)


@pytest.fixture(autouse=True)
def _remember_log_positions(request: pytest.FixtureRequest) -> None:
    shared = (value for value in request.node.funcargs.values() if isinstance(value, Server))
    request.node.stash[_log_positions] = {server: server.log_size() for server in shared}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the servers printed during a test that failed."""
    report = yield
    if report.failed:
        positions = item.stash[_log_positions].copy() if _log_positions in item.stash else {}
        maker = getattr(item, "funcargs", {}).get("new_server")
        if isinstance(maker, ServerMaker):
            positions |= dict.fromkeys(maker.made, 0)
        for server, start in positions.items():
            text = server.log_text(start)[-LOG_TAIL_CHARACTERS:]
            report.sections.append((f"log of {server.data_dir.name}", text))
    return report
