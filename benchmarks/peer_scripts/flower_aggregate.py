"""Flower's strategies on the replies of a training round, as they lie in its memory."""

import logging
from collections.abc import Callable

from aggregation import arguments, measure, sample_size, update
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, Krum
from flwr.supercore.task_identity import TaskIdentity

logging.getLogger("flwr").setLevel(logging.ERROR)
# Messages carry who made them; a SuperLink would have said so.
TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


def main() -> None:
    """Aggregate `updates` replies with the strategy's `aggregate_train`."""
    options = arguments("fedavg", "median", "krum")
    strategies = {
        "fedavg": FedAvg,
        "median": FedMedian,
        # As many as Krum tolerates: n ≥ 2 f + 3.
        "krum": lambda: Krum(num_malicious_nodes=max(0, (options.updates - 3) // 2)),
    }
    strategy = strategies[options.strategy]()
    # Flower keeps a reply's arrays in NumPy's file format; so they arrive from participants.
    arrays = [
        {name: Array(layer) for name, layer in update(options.parameters, participant).items()}
        for participant in range(options.updates)
    ]

    def prepare() -> Callable[[], object]:
        replies = []
        for participant, layers in enumerate(arrays):
            # A dictionary of its own, because FedMedian takes the arrays out of it.
            records = RecordDict(
                {
                    "arrays": ArrayRecord(dict(layers)),
                    "metrics": MetricRecord({"num-examples": sample_size(participant)}),
                }
            )
            replies.append(
                Message(records, dst_node_id=participant, message_type=MessageType.TRAIN)
            )
        return lambda: strategy.aggregate_train(1, replies)

    measure(prepare, options.repetitions)


main()
