"""Rounds whose updates lie in a blob store, for aggregating without a server. Needs no Ray."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save
from torch import nn

from benchmarks.peer_scripts.layers import shapes
from compute.aggregator import Aggregator
from compute.blobs import LocalBlobStore
from compute.contract import (
    AggregationOptions,
    AggregatorSpec,
    CallbackTarget,
    FinishRound,
    UpdateRef,
)

# So many different files; more updates than that take them again, under names of their own. Ten of
# 100 MB are more than the caches of any processor hold.
DISTINCT_UPDATES = 10


class Layers(nn.Module):
    """Holds tensors of these shapes and does nothing."""

    def __init__(self, layers: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in layers.items():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(torch.randn(shape)))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What it was given."""
        return inputs


@dataclass(frozen=True)
class StoredRound:
    """A round of `participants` who all delivered a model of so many float32 parameters."""

    folder: Path
    order: FinishRound
    parameters: int

    @property
    def participants(self) -> int:
        return len(self.order.updates)

    @property
    def name(self) -> str:
        """Say "10 × 25 M"."""
        return f"{self.participants} × {self.parameters / 1e6:g} M"

    def first(self, participants: int) -> "StoredRound":
        """The same round with fewer updates."""
        order = FinishRound(
            round=self.order.round,
            base_key=self.order.base_key,
            updates=self.order.updates[:participants],
        )
        return StoredRound(self.folder, order, self.parameters)

    def store(self) -> LocalBlobStore:
        """Where its blobs are."""
        return LocalBlobStore(self.folder)

    def aggregator(
        self,
        device: torch.device,
        *,
        strategy: str = "FedAvg",
        accumulate: str = "float64",
    ) -> Aggregator:
        """A fresh one."""
        spec = AggregatorSpec(
            training_id="benchmark",
            strategy=strategy,
            blob_url=self.folder.as_uri(),
            callback=CallbackTarget(url="", secret=""),
            options=AggregationOptions(accumulate=accumulate),
        )
        return Aggregator(spec, self.store(), device)


@contextmanager
def stored_round(
    participants: int, parameters: int, *, scripted_updates: bool = False
) -> Iterator[StoredRound]:
    """A round in a temporary folder: a TorchScript model, and updates in safetensors.

    Args:
        scripted_updates: They are TorchScript, too.
    """
    with TemporaryDirectory(prefix="starling-benchmark-") as folder:
        store = LocalBlobStore(Path(folder))
        torch.manual_seed(0)
        layers = shapes(parameters)
        base = store.put([_torchscript(Layers(layers), Path(folder))])
        digests = []
        for _ in range(min(participants, DISTINCT_UPDATES)):
            model = Layers(layers)
            content = (
                _torchscript(model, Path(folder)) if scripted_updates else save(model.state_dict())
            )
            digests.append(store.put([content]).digest)
        updates = [
            UpdateRef(
                update_id=str(number),
                digest=digests[number % len(digests)],
                sample_size=100 + number,
            )
            for number in range(participants)
        ]
        order = FinishRound(round=0, base_key=base.digest, updates=updates)
        yield StoredRound(Path(folder), order, parameters)


def _torchscript(model: nn.Module, folder: Path) -> bytes:
    path = folder / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(model), str(path))
    content = path.read_bytes()
    path.unlink()
    return content
