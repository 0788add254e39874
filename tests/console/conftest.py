"""A server with a seeded world, and a Chromium to look at its console with.

Playwright's synchronous API keeps an event loop running in the thread of the tests, in which no
other can be run: what starts it is of this package, so that it is gone before other tests begin.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.console.browsers import Browsing, launch
from tests.console.world import World
from tests.servers import RayCluster, Server


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def world(ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The seeded world; no test changes what it finds there."""
    server = Server(
        tmp_path_factory.mktemp("console") / "server", environment=ray_cluster.environment()
    )
    made = World(server)
    try:
        server.start_and_wait()
        made.make()
        yield made
    finally:
        made.close()
        server.kill_if_running()


@pytest.fixture
def server(world: World) -> Server:
    """The world's server."""
    return world.server


@pytest.fixture
def browse(chromium: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Browsing]:
    """Opens pages: `browse("/models", by=world.actor)`.

    Whatever went wrong in one of them (`Watch`) fails the test at its end.
    """
    browsing = Browsing(chromium, server)
    try:
        yield browsing
        browsing.end()
    finally:
        browsing.close()
