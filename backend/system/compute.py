"""How the compute cluster is, for who looks at it."""

from collections.abc import Collection, Sequence
from uuid import UUID

from backend.db.tables import GlobalModel, LocalModel, Training
from backend.security.caller import Caller
from backend.system.schemas import ComputeActor, ComputeJson, ComputeTotals, Dashboard
from compute.contract import ClusterActor, ClusterState
from compute.gateway import ComputeGateway

TOKEN_COMMAND = "ray get-auth-token"  # noqa: S105 - prints it, is none


async def compute_of(gateway: ComputeGateway, caller: Caller) -> ComputeJson:
    """What the caller may know of the cluster: superusers all, others whether it is there."""
    state = await gateway.cluster_state()
    shown = ComputeJson(
        ready=state.ready,
        # What exactly failed names machines and files.
        detail=state.detail if caller.superuser or state.ready else "The cluster is not there.",
        embedded=state.embedded,
        totals=_totals(state),
        nodes=None,
        actors=None,
        dashboard=None,
    )
    if caller.superuser:
        shown.nodes = state.nodes
        shown.actors = await _actors(state.actors)
        # Of a cluster that is away nothing is known, not even whether it has one.
        shown.dashboard = _dashboard(state) if state.ready else None
    return shown


def _totals(state: ClusterState) -> ComputeTotals:
    alive = [node for node in state.nodes if node.alive]
    return ComputeTotals(
        cpus=sum(node.cpus for node in alive),
        cpus_used=sum(node.cpus_used for node in alive),
        gpus=sum(node.gpus for node in alive),
        gpus_used=sum(node.gpus_used for node in alive),
        memory_bytes=sum(node.memory_bytes for node in alive),
        memory_used_bytes=sum(node.memory_used_bytes for node in alive),
        object_store_bytes=sum(node.object_store_bytes for node in alive),
        object_store_used_bytes=sum(node.object_store_used_bytes for node in alive),
    )


async def _actors(actors: Sequence[ClusterActor]) -> list[ComputeActor]:
    names = await _training_names({UUID(a.training_id) for a in actors if a.training_id})
    models = await _models({a.model_key for a in actors if a.model_key})
    return [
        ComputeActor(
            id=actor.id,
            name=actor.name,
            kind=actor.kind,
            state=actor.state,
            node=actor.node_id or None,
            pid=actor.pid,
            training=UUID(actor.training_id) if actor.training_id else None,
            training_name=names.get(UUID(actor.training_id)) if actor.training_id else None,
            model=models.get(actor.model_key) if actor.model_key else None,
            restarts=actor.restarts,
        )
        for actor in actors
    ]


async def _training_names(ids: Collection[UUID]) -> dict[UUID, str]:
    if not ids:
        return {}
    rows = await Training.select(Training.id, Training.model.name.as_alias("name")).where(
        Training.id.is_in(list(ids))
    )
    return {row["id"]: row["name"] for row in rows}


async def _models(digests: Collection[str]) -> dict[str, UUID]:
    """A model with each of these weights; a global one where there are several."""
    if not digests:
        return {}
    wanted = list(digests)
    local = await LocalModel.select(LocalModel.id, LocalModel.digest).where(
        LocalModel.digest.is_in(wanted)
    )
    of_all = await GlobalModel.select(GlobalModel.id, GlobalModel.digest).where(
        GlobalModel.digest.is_in(wanted)
    )
    return {row["digest"]: row["id"] for row in (*local, *of_all)}


def _dashboard(state: ClusterState) -> Dashboard:
    if state.dashboard_url is None:
        how = (
            "This server started Ray without its dashboard. Start the server with "
            "STARLING_RAY_DASHBOARD=true to have it; it takes about 500 MiB of memory."
            if state.embedded
            else "The cluster has no dashboard. Its head has one when it is started with "
            "`ray start --head --include-dashboard=true`."
        )
        return Dashboard(url=None, token_command=None, how=how)
    reached = (
        "Open the address on the machine that the server runs on; from elsewhere, forward its "
        "port first (ssh -L)."
        if state.embedded
        else "Open the address from where the cluster's head can be reached."
    )
    if not state.dashboard_has_token:
        return Dashboard(url=state.dashboard_url, token_command=None, how=reached)
    return Dashboard(
        url=state.dashboard_url,
        token_command=TOKEN_COMMAND,
        how=f"{reached} It asks for a token: run `{TOKEN_COMMAND}` where the server runs, as its "
        "user and with its environment, and paste what it prints. The server also wrote both to "
        "ray-dashboard.json in its data directory.",
    )
