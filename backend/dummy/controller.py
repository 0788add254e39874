"""Demo data over HTTP; `create_app` adds it in debug mode only."""

from litestar import get
from litestar.di import NamedDependency

from backend.dummy.schemas import DummyCreated
from backend.dummy.service import DummyService


@get("/api/dummy/", public=True, tags=["dummy"])
async def make_dummy(dummies: NamedDependency[DummyService]) -> DummyCreated:
    """Create a completed training with metrics, to look at; each call creates another."""
    return await dummies.create()
