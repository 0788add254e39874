"""One server for all tests of the client, and the people that they need."""

from collections.abc import Iterator

import pytest

from tests.servers import RayCluster, Server


@pytest.fixture(scope="package")
def server(ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A ready server. What the client does is the same on every database: one is enough."""
    server = Server(
        tmp_path_factory.mktemp("client") / "server", environment=ray_cluster.environment()
    )
    server.start_and_wait()
    yield server
    server.stop()
