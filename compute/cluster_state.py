"""What a Ray cluster has and runs, asked of its head, which knows it with and without a dashboard.

Ray's own library for this, `ray.util.state`, asks the dashboard.
"""

from collections.abc import Mapping
from typing import TypedDict

import psutil
import ray
from ray._private import state

from compute.contract import ActorKind, ClusterActor, ClusterNode

_HEAD = "node:__internal_head__"
_ACCELERATOR = "accelerator_type:"
_KINDS = {
    "AggregatorActor": ActorKind.AGGREGATOR,
    "PredictorActor": ActorKind.PREDICTOR,
}
# Dead ones are kept by the head by the thousand.
_STATES = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING")


class _Node(TypedDict):
    """The part of Ray's description of a node that is of use here."""

    NodeID: str
    Alive: bool
    NodeManagerAddress: str
    NodeManagerHostname: str
    Resources: dict[str, float]


class _Address(TypedDict):
    NodeID: str


class _Actor(TypedDict):
    """The part of Ray's description of an actor that is of use here."""

    ActorID: str
    ActorClassName: str
    Name: str
    State: str
    Address: _Address
    NumRestarts: int
    Pid: int


def read_nodes() -> list[ClusterNode]:
    """Every node that is or was in the cluster; waits for the head."""
    available: dict[str, dict[str, float]] = state.available_resources_per_node()
    here = ray.get_runtime_context().get_node_id()
    nodes: list[_Node] = ray.nodes()
    return [_node(node, available.get(node["NodeID"], {}), here=here) for node in nodes]


def read_actors() -> list[ClusterActor]:
    """The actors of this process that are not dead, without what they are busy with; waits too."""
    job = ray.JobID(bytes.fromhex(ray.get_runtime_context().get_job_id()))
    found: dict[str, _Actor] = {}
    for name in _STATES:
        # One that changes its state between two questions is in one of the answers at least.
        found |= state.actors(job_id=job, actor_state_name=name)
    return [_actor(actor) for actor in found.values()]


def _node(node: _Node, available: Mapping[str, float], *, here: str) -> ClusterNode:
    total = node["Resources"] if node["Alive"] else {}

    def used(resource: str) -> float:
        return max(0.0, total.get(resource, 0.0) - available.get(resource, 0.0))

    memory_bytes, memory_used_bytes = int(total.get("memory", 0)), int(used("memory"))
    if node["Alive"] and node["NodeID"] == here:
        memory = psutil.virtual_memory()
        memory_bytes, memory_used_bytes = memory.total, memory.total - memory.available
    return ClusterNode(
        id=node["NodeID"],
        name=node["NodeManagerHostname"],
        address=node["NodeManagerAddress"],
        alive=node["Alive"],
        head=_HEAD in node["Resources"],
        cpus=total.get("CPU", 0.0),
        cpus_used=used("CPU"),
        gpus=total.get("GPU", 0.0),
        gpus_used=used("GPU"),
        memory_bytes=memory_bytes,
        memory_used_bytes=memory_used_bytes,
        object_store_bytes=int(total.get("object_store_memory", 0)),
        object_store_used_bytes=int(used("object_store_memory")),
        accelerator=next(
            (name.removeprefix(_ACCELERATOR) for name in total if name.startswith(_ACCELERATOR)),
            None,
        ),
    )


def _actor(actor: _Actor) -> ClusterActor:
    return ClusterActor(
        id=actor["ActorID"],
        name=actor["Name"] or actor["ActorClassName"],
        kind=_KINDS.get(actor["ActorClassName"], ActorKind.OTHER),
        state=actor["State"],
        node_id=actor["Address"]["NodeID"],
        pid=actor["Pid"] or None,
        restarts=actor["NumRestarts"],
    )
