"""The small CNN with dropout that the demo trains, as a TorchScript archive.

python -m examples.digits.network SEED FILE writes one, so that the demo's parent process
needs no torch of its own.
"""

import io
import sys
from pathlib import Path

import torch
from torch import nn


def digits_network(seed: int) -> nn.Sequential:
    """A CNN from images (batch, 1, 8, 8) to logits (batch, 10); 38,282 parameters.

    Made of torch.nn classes only, so that participants need none of this code to load it. The
    caller's random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (batch, 32, 4, 4)
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(64, 10),
        )


def torchscript_archive(network: nn.Module) -> bytes:
    """The network as the bytes of a file that `torch.jit.load` and `torch.load` read."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(network), buffer)
    return buffer.getvalue()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(torchscript_archive(digits_network(int(sys.argv[1]))))
