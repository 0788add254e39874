"""The Flower app of `flower_round.py`: participants return the model slightly changed."""

from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from layers import first_model, step
from marks import mark

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Add a little to each layer."""
    added = step(context.node_id % 1000)
    arrays = message.content.array_records["arrays"]
    changed = {name: Array(array.numpy() + added) for name, array in arrays.items()}
    metrics = MetricRecord({"num-examples": 100})
    return Message(
        RecordDict({"arrays": ArrayRecord(changed), "metrics": metrics}), reply_to=message
    )


class MarkedFedAvg(FedAvg):
    """Says when it begins a round."""

    def __init__(self, marks: Path, participants: int) -> None:
        super().__init__(
            fraction_evaluate=0.0, min_train_nodes=participants, min_available_nodes=participants
        )
        self._marks = marks

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """A round begins with its messages."""
        mark(self._marks)
        return list(super().configure_train(server_round, arrays, config, grid))


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    config = context.run_config
    model = {name: Array(layer) for name, layer in first_model(int(config["parameters"])).items()}
    marks = Path(str(config["marks"]))
    strategy = MarkedFedAvg(marks, int(config["participants"]))
    strategy.start(grid, ArrayRecord(model), num_rounds=int(config["rounds"]))
    mark(marks)
