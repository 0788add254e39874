"""Opens simulations for the backend: the door to everything here that loads torch or Ray.

Nothing is loaded until one is opened.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from compute.contract import AggregationOptions
from compute.simulation.contract import Classification, Simulation

__all__ = ["VirtualParticipants", "open_simulation"]

if TYPE_CHECKING:
    from compute.simulation.participants import VirtualParticipants


@contextlib.contextmanager
def open_simulation(
    participants: "Classification | VirtualParticipants",
    *,
    strategy: str,
    options: AggregationOptions,
    ray_address: str | None = None,
    workers: int | None = None,
) -> Iterator[Simulation]:
    """A simulation, with the workers that it needs, for the time of the context.

    A cluster that this process is connected to already is used, and left as it is.

    Args:
        ray_address: Cluster to use; None: one is started on this machine, and ended afterwards.
        workers: How many workers; None: one per CPU; 0: this process does all, without Ray.

    Raises:
        SimulationFailed: the participants cannot be made.
        ConnectionError: there is no cluster at the address.
        ValueError: the strategy is unknown, or cannot do the options.
    """
    from compute.simulation.simulator import Simulator
    from compute.simulation.workers import InProcessWorkers

    if isinstance(participants, Classification):
        from compute.simulation.classification import Classifiers

        participants = Classifiers(participants)
    if workers == 0:
        yield Simulator(
            participants, InProcessWorkers(participants), strategy=strategy, options=options
        )
        return

    from compute.simulation.ray_workers import RayWorkers, connected

    with connected(ray_address, workers):
        yield Simulator(
            participants, RayWorkers(participants, workers), strategy=strategy, options=options
        )
