"""Health and the compute cluster over HTTP."""

import asyncio
import logging
from collections.abc import Awaitable

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE

from backend.db.engine import Database
from backend.security.authentication import CallerRequest
from backend.system.compute import compute_of
from backend.system.schemas import ComputeJson, Liveness, Readiness
from backend.weights import Weights
from compute.gateway import ComputeGateway

logger = logging.getLogger(__name__)

Gateway = NamedDependency[SkipValidation[ComputeGateway]]

CHECK_TIMEOUT_SECONDS = 5.0
WORKS = "ok"


class HealthController(Controller):
    """For load balancers and operators; no credentials."""

    path = "/health"
    tags = ("system",)

    @get("/live/", public=True)
    async def live(self) -> Liveness:
        """200 as soon as the process answers."""
        return Liveness("ok")

    @get("/ready/", public=True)
    async def ready(
        self,
        database: NamedDependency[Database],
        weights: NamedDependency[Weights],
        gateway: Gateway,
    ) -> Response[Readiness]:
        """200 when database, blob store and Ray work, else 503 naming what does not."""
        database_state, blob_state, compute_health = await asyncio.gather(
            _state(database.check(), "The database does not answer."),
            _state(asyncio.to_thread(weights.blobs.check), "The blob store cannot be written."),
            gateway.health(),
        )
        compute_state = WORKS if compute_health.ready else compute_health.detail
        works = {database_state, blob_state, compute_state} == {WORKS}
        readiness = Readiness(
            status="ok" if works else "unavailable",
            database=database_state,
            blob_store=blob_state,
            compute=compute_state,
        )
        status = HTTP_200_OK if works else HTTP_503_SERVICE_UNAVAILABLE
        return Response(readiness, status_code=status)


@get("/api/compute/", tags=("system",))
async def compute(request: CallerRequest, gateway: Gateway) -> ComputeJson:
    """How the compute cluster is; with its nodes, actors and dashboard for superusers.

    200 also when it is not there: `ready` says so.
    """
    return await compute_of(gateway, request.user)


async def _state(check: Awaitable[None], failure: str) -> str:
    """`ok`, or the sentence; what exactly failed is in the log, not in a public answer."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check
    except Exception:
        logger.exception(failure)
        return failure
    return WORKS
