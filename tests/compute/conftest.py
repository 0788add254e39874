"""Fixtures of the compute tests: blob stores, a callback server, and one embedded Ray for all."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from compute.blobs import BlobStore, open_blob_store
from compute.cluster import RayConfig
from compute.in_process_gateway import InProcessGateway
from compute.ray_gateway import RayGateway
from tests.compute.callback_server import CallbackServer, serving_callbacks

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture
def backend() -> Iterator[CallbackServer]:
    with serving_callbacks() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_blob_store((tmp_path / "blobs").as_uri())


@pytest.fixture(scope="session")
def blob_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tmp_path_factory.mktemp("ray-blobs").as_uri()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ray_gateway(blob_url: str) -> AsyncIterator[RayGateway]:
    gateway = RayGateway(
        RayConfig(
            blob_url=blob_url,
            include_dashboard=False,
            check_timeout_seconds=60.0,
            predict_timeout_seconds=8.0,
        )
    )
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def in_process_gateway(blob_url: str) -> AsyncIterator[InProcessGateway]:
    gateway = InProcessGateway(blob_url)
    await gateway.start()
    yield gateway
    await gateway.stop()
