"""The untrained network of the demo data, as files of the two kinds that clients send."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from compute.blobs import BlobStore
from compute.contract import DummyModel
from compute.formats import inspect_model, inspect_preprocessing

if TYPE_CHECKING:
    from torchvision.transforms import v2

MNIST_MEAN = 0.1307
MNIST_DEVIATION = 0.3015
SIDE = 28


def make_dummy_model(store: BlobStore) -> DummyModel:
    """Write network and preprocessing to the store.

    Raises:
        BlobError: a blob cannot be written now.
    """
    with store.scratch_file() as path:
        _save_torchscript(digits_cnn(), path)
        report = inspect_model(path)
        model = store.put_file(path, consume=True)
    with store.scratch_file() as path:
        torch.save(digits_preprocessing(), path)
        inspect_preprocessing(path)
        preprocessing = store.put_file(path, consume=True)
    return DummyModel(
        digest=model.digest,
        size_bytes=model.size_bytes,
        format=report.format,
        num_parameters=report.num_parameters,
        preprocessing_digest=preprocessing.digest,
    )


def digits_cnn() -> nn.Sequential:
    """A classifier of images, shape (batch, 1, 28, 28), into ten classes; gives logits."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),  # (batch, 64 * 12 * 12)
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


def digits_preprocessing() -> "v2.Compose":
    """From an image of any size to (1, 28, 28), float32, with MNIST's mean and deviation."""
    # Here, because checks of models do without: the import takes longer than torch's own.
    # isort: off
    import compute.torchvision_guard  # noqa: F401 - before any other import from torchvision
    from torchvision.transforms import v2
    # isort: on

    return v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Resize((SIDE, SIDE)),
            v2.Grayscale(),
            v2.Normalize(mean=[MNIST_MEAN], std=[MNIST_DEVIATION]),
        ]
    )


def _save_torchscript(module: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        # TorchScript is what clients in the field send; that torch leaves it behind is known.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), str(path))
