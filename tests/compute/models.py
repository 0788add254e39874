"""Small models, trained copies of them, and how they come in files."""

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from compute.blobs import BlobRef, BlobStore, Staged
from compute.contract import AggregatorSpec, CallbackTarget, UpdateRef
from tests.model_files import drifted, pickled, tiny, torchscript

StateDict = dict[str, Tensor]

NOWHERE = CallbackTarget(url="http://127.0.0.1:9/", secret="s")


def stored(store: BlobStore, content: bytes) -> BlobRef:
    """`content` as a blob."""
    return store.put([content])


def staged(store: BlobStore, content: bytes) -> Staged:
    """`content` as an upload that was not promoted yet."""
    writer = store.stage()
    writer.write(content)
    return writer.finish()


def trained(seed: int) -> nn.Module:
    """The tiny model after a participant's training."""
    return drifted(tiny(), seed=seed)


def update(store: BlobStore, seed: int, *, sample_size: int, scripted: bool = False) -> UpdateRef:
    """A stored update of the tiny model."""
    model = trained(seed)
    blob = stored(store, torchscript(model) if scripted else pickled(model))
    return UpdateRef(update_id=f"update-{seed}", digest=blob.digest, sample_size=sample_size)


def spec(
    blob_url: str, callback: CallbackTarget, *, training_id: str = "t", strategy: str = "FedAvg"
) -> AggregatorSpec:
    """An aggregator of a training."""
    return AggregatorSpec(
        training_id=training_id, strategy=strategy, blob_url=blob_url, callback=callback
    )


def written(path: Path, content: bytes) -> Path:
    """`path`, holding `content`."""
    path.write_bytes(content)
    return path


def loaded(store: BlobStore, digest: str) -> StateDict:
    """The tensors of a stored model, loaded as clients do."""
    content = b"".join(store.read(digest))
    model: nn.Module = torch.load(io.BytesIO(content), weights_only=False)
    return model.state_dict()


class Greedy(nn.Module):
    """Wants more memory than can be addressed."""

    def forward(self, batch: Tensor) -> Tensor:
        return torch.ones(batch.shape[0], 72057594037927936)


class Endless(nn.Module):
    """Never answers."""

    def forward(self, batch: Tensor) -> Tensor:
        while bool((batch.abs() >= 0).all()):
            batch = batch + 1
        return batch
