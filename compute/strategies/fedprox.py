"""FedProx: the server averages as FedAvg does; participants add (μ/2)·‖w_k - w‖² to their loss.

μ (`options.mu` of the training) reaches the participants in the round's notification and plays no
part in the aggregation.

Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar & Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020, Algorithm 2.
"""

from compute.strategies.fedavg import FedAvg
from compute.strategies.registry import register


@register("FedProx")
class FedProx(FedAvg):
    """Mean of all updates, weighted by their sample sizes."""
