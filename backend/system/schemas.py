"""What goes over the wire about the server itself."""

from uuid import UUID

import msgspec

from compute.contract import ActorKind, ClusterNode


class Liveness(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Whether each part works; a sentence about each that does not."""

    status: str
    database: str
    blob_store: str
    compute: str


class ComputeTotals(msgspec.Struct, kw_only=True):
    """Sums over the nodes that are alive; what is used is what is reserved, as in each node."""

    cpus: float
    cpus_used: float
    gpus: float
    gpus_used: float
    memory_bytes: int
    memory_used_bytes: int
    object_store_bytes: int
    object_store_used_bytes: int


class ComputeActor(msgspec.Struct, kw_only=True):
    """An aggregator or predictor of this server.

    Attributes:
        state: As Ray names it, such as ALIVE or RESTARTING.
        node: Id of its node; null while it has none.
        training: Which an aggregator serves; null for a spare one.
        training_name: Name of that training's model.
        model: A model or update that a predictor was last used for.
    """

    id: str
    name: str
    kind: ActorKind
    state: str
    node: str | None
    pid: int | None
    training: UUID | None
    training_name: str | None
    model: UUID | None
    restarts: int


class Dashboard(msgspec.Struct, kw_only=True):
    """Where the Ray dashboard is, and how to be let in.

    Attributes:
        url: Null: there is none.
        token_command: Prints the token that it asks for, where the server runs and as its user;
            null: it asks for none.
        how: What to do, for people.
    """

    url: str | None
    token_command: str | None
    how: str


class ComputeJson(msgspec.Struct, kw_only=True):
    """How the compute cluster is; nodes, actors and dashboard are null for who is no superuser."""

    ready: bool
    detail: str
    embedded: bool
    totals: ComputeTotals
    nodes: list[ClusterNode] | None
    actors: list[ComputeActor] | None
    dashboard: Dashboard | None
