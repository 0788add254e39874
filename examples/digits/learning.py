"""What a participant does with a model and its own samples: train it, and test it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.digits.messages import Score
from examples.digits.shares import Samples

LOCAL_EPOCHS = 4
BATCH_SIZE = 16
LEARNING_RATE = 0.02
MOMENTUM = 0.9


def train_(network: nn.Module, samples: Samples, *, epochs: int, seed: int) -> float:
    """Train `network` in place by SGD with momentum; the mean loss of the last epoch.

    Args:
        seed: Decides the order of the samples and the dropout masks: same seed, same network.
    """
    images, labels = _tensors(samples)
    torch.manual_seed(seed)  # dropout draws from the global generator only
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    network.train()
    mean_loss = 0.0
    for _ in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(BATCH_SIZE):
            loss = functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        mean_loss = total / len(labels)
    return mean_loss


@torch.no_grad()
def score(network: nn.Module, samples: Samples) -> Score:
    """How the network does on the samples, without dropout. Leaves it in eval mode."""
    images, labels = _tensors(samples)
    network.eval()
    logits = network(images)
    return Score(
        loss=functional.cross_entropy(logits, labels).item(),
        accuracy=(logits.argmax(dim=1) == labels).double().mean().item(),
    )


def _tensors(samples: Samples) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(samples.images), torch.from_numpy(samples.labels)
