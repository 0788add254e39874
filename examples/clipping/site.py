"""One site's part in a network for digits, with updates of bounded norm: site.py SITE SITES."""

import sys

import starling_client
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

MAX_NORM = 1.0

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


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return float((model(x).argmax(dim=1) == y).float().mean())


for task in starling_client.join():
    model = task.model()
    if task.is_training:
        train(model, images[here], labels[here])
        moved = starling_client.clip_update(model, task.global_parameters, MAX_NORM)
        # Measured again, nothing is left to clip.
        sent = starling_client.clip_update(model, task.global_parameters, MAX_NORM)
        print(f"site {site}, round {task.round}: moved by {moved:.2f}, sent {sent:.2f}")
    right = accuracy(model, images[held_out], labels[held_out])
    # Everybody counts as one: were the weight the number of samples, it would tell that number,
    # and the mean could move by more than MAX_NORM / sites for one of them.
    task.submit(model, metrics={"accuracy": right}, sample_size=1)
