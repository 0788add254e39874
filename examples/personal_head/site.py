"""One site's part in a common body, below a head that stays here: site.py SITE SITES.

Source: Arivazhagan, Aggarwal, Singh & Choudhary, "Federated Learning with Personalization Layers",
2019, algorithm 1 (FedPer).
"""

import sys
from pathlib import Path

import starling_client
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

site, sites = int(sys.argv[1]), int(sys.argv[2])
digits = load_digits()
images = torch.tensor(digits.images.reshape(-1, 64) / 16, dtype=torch.float32)
# Each site has its own name for every digit: no common head could be right everywhere.
labels = (torch.tensor(digits.target) + 3 * site) % 10
number = torch.arange(len(labels))
held_out = number % 5 == 0
here = ~held_out & (number % sites == site)
torch.manual_seed(site)

head = nn.Linear(32, 10)
# The server has no copy of it: who is started again goes on with the file.
kept = Path(f"head-{site}.pt")
if kept.exists():
    head.load_state_dict(torch.load(kept, weights_only=True))


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(32):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((model(x).argmax(dim=1) == y).float().mean())


for task in starling_client.join():
    body = task.model()
    model = nn.Sequential(body, head)
    if task.is_training:
        train(model, images[here], labels[here])
        torch.save(head.state_dict(), kept)
    right = accuracy(model, images[held_out], labels[held_out])
    task.submit(body, metrics={"accuracy": right}, sample_size=int(here.sum()))
    print(f"site {site}, {task.kind.value}, round {task.round}: accuracy {right:.3f}")
