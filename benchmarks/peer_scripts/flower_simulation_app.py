"""The Flower app of `flower_simulation.py`: digits, a small perceptron, a share per participant.

A module of its own, so that Ray's workers import it instead of unpickling it with each message.
"""

import functools
import os
import time
from pathlib import Path

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn
from torch.nn import functional

SETTINGS = "STARLING_BENCHMARK_SIMULATION"  # folder of data, for workers that only import this

client = ClientApp()
server = ServerApp()


@functools.cache
def samples() -> dict[str, Tensor]:
    """Inputs, labels, and where each share begins and ends; loaded once per worker."""
    torch.set_num_threads(1)
    with np.load(Path(os.environ[SETTINGS]) / "samples.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def network() -> nn.Sequential:
    """64-32-10."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@client.train()
def train(message: Message, context: Context) -> Message:
    """The steps of a round on the participant's own share."""
    config = message.content.config_records["config"]
    data = samples()
    position = int(context.node_config["partition-id"])
    share = data["indices"][data["starts"][position] : data["starts"][position + 1]]
    model = network()
    model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=float(config["learning-rate"]))
    steps, loss = int(config["steps"]), torch.zeros(())
    while steps:
        for batch in share[torch.randperm(len(share))].split(int(config["batch-size"]))[:steps]:
            loss = functional.cross_entropy(model(data["inputs"][batch]), data["labels"][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps -= 1
    metrics = MetricRecord({"num-examples": len(share), "loss": loss.item()})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@torch.no_grad()
def accuracy(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """On the test samples; also notes when the round ended."""
    data, model = samples(), network()
    model.load_state_dict(arrays.to_torch_state_dict())
    right = model(data["test_inputs"]).argmax(dim=1) == data["test_labels"]
    found = right.double().mean().item()
    with (Path(os.environ[SETTINGS]) / "rounds").open("a") as marks:
        print(server_round, time.time(), found, file=marks)
    return MetricRecord({"accuracy": found})


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds."""
    del context
    settings = dict(
        line.split() for line in (Path(os.environ[SETTINGS]) / "settings").read_text().splitlines()
    )
    torch.manual_seed(0)
    strategy = FedAvg(
        fraction_train=float(settings["fraction"]),
        fraction_evaluate=0.0,
        min_available_nodes=int(settings["participants"]),
    )
    strategy.start(
        grid,
        ArrayRecord(network().state_dict()),
        num_rounds=int(settings["rounds"]),
        train_config=ConfigRecord(
            {
                "steps": int(settings["steps"]),
                "batch-size": int(settings["batch-size"]),
                "learning-rate": float(settings["learning-rate"]),
            }
        ),
        evaluate_fn=accuracy,
    )
