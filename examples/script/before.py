"""Train a small network on the handwritten digits of one site: before.py SITE SITES."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

site, sites = int(sys.argv[1]), int(sys.argv[2])
digits = load_digits()
images = torch.tensor(digits.images.reshape(-1, 64) / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
number = torch.arange(len(labels))
held_out = number % 5 == 0
here = ~held_out & (number % sites == site)
torch.manual_seed(site)


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(32):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(dim=1) == y).float().mean())


network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
train(network, images[here], labels[here])
print(f"accuracy {accuracy(network, images[held_out], labels[held_out]):.3f}")
