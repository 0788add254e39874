"""An ordinary PyTorch loop that takes part in a training, and stops wherever a test wants.

python -m tests.client.gated_participant [gated]: prints a line of JSON before and after it submits
something; `gated`, it waits for a line on stdin each time.
"""

import json
import sys

import starling_client
import torch
from torch import nn

GATED = sys.argv[1:] == ["gated"]
FEATURES = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
LABELS = (FEATURES.sum(1) > 0).long()


def passes(step: str, task: starling_client.Task) -> None:
    print(json.dumps([step, task.kind.name, task.round]), flush=True)  # noqa: T201 - to the test
    if GATED and not sys.stdin.readline():
        sys.exit("The test is gone.")


def train(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(FEATURES), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(model: nn.Module) -> float:
    return float((model(FEATURES).argmax(1) == LABELS).float().mean())


torch.set_num_threads(1)
for task in starling_client.join():
    model = task.model()
    if task.is_training:
        train(model)
    passes("before", task)
    receipt = task.submit(model, metrics={"accuracy": accuracy(model)}, sample_size=len(LABELS))
    passes(receipt.outcome.name, task)
