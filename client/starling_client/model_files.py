"""Models and tensors as files: what was downloaded is loaded, what was trained is written.

Nothing in a downloaded file is run by loading it: pickles go through `weights_only` with the layers
of torch.nn as the only classes.
"""

import io
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from starling_client.errors import BadSubmission, UnusableModel

StateDict = dict[str, Tensor]

# What torch lets pickles name is one list for all threads, and leaving `safe_globals` resets it.
_ALLOWING = threading.Lock()

_BUILD_YOURSELF = "Build the network in your own code and pass it: task.model(network)."


def load_module(path: Path) -> nn.Module:
    """The model in a file, a fresh object on the CPU.

    Raises:
        UnusableModel: it is in no format that is loaded without running code of its author's.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = {name.partition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise UnusableModel(f"The global model is in no known format. {_BUILD_YOURSELF}") from error
    if "constants.pkl" in records:
        script: nn.Module = torch.jit.load(str(path), map_location="cpu")
        return script
    if "models/model.json" in records:
        program: nn.Module = torch.export.load(str(path)).module()
        return program
    return _load_pickled(path)


def load_state(path: Path) -> StateDict:
    """Every tensor of a safetensors file, by name."""
    return safetensors.torch.load_file(path)


def load_into_(network: nn.Module, path: Path) -> None:
    """Set the tensors of `network` to those of a safetensors file.

    Raises:
        UnusableModel: they are not its own; says which.
    """
    try:
        network.load_state_dict(load_state(path))
    except RuntimeError as error:
        raise UnusableModel(
            f"The network passed to task.model does not have the global model's tensors. {error}"
        ) from error


def write_state(model: nn.Module | Mapping[str, Tensor], path: Path) -> None:
    """Write a model's tensors as safetensors; the same tensors give the same bytes.

    Raises:
        BadSubmission: it is neither a module nor tensors by name.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else model
    safetensors.torch.save_file(_written(state), path, {"format": "pt"})


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor as `torch.save` writes it."""
    file = io.BytesIO()
    torch.save(tensor, file)
    return file.getvalue()


def _load_pickled(path: Path) -> nn.Module:
    layers = {f"{layer.__module__}.{layer.__qualname__}": layer for layer in _layers()}
    with _ALLOWING:
        wanted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        unknown = [name for name in wanted if name not in layers]
        if unknown:
            raise UnusableModel(
                f"The global model is a pickle that wants {min(unknown)}, which is no layer of "
                f"torch.nn and might do anything. {_BUILD_YOURSELF}"
            )
        with torch.serialization.safe_globals([layers[name] for name in wanted]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, nn.Module):
        raise UnusableModel(
            f"The global model's file holds a {type(loaded).__name__}. {_BUILD_YOURSELF}"
        )
    return loaded


def _layers() -> set[type[nn.Module]]:
    """Every subclass of nn.Module that torch.nn itself defines."""
    found: set[type[nn.Module]] = set()
    waiting: list[type[nn.Module]] = [nn.Module]
    while waiting:
        for layer in waiting.pop().__subclasses__():
            if layer not in found:
                found.add(layer)
                waiting.append(layer)
    return {layer for layer in found if layer.__module__.startswith("torch.nn.modules.")}


def _written(state: Mapping[str, object]) -> StateDict:
    """Detached, on the CPU, contiguous; tensors that share memory are written each by itself."""
    seen: set[int] = set()
    written: StateDict = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise BadSubmission(
                f"The model has a {type(tensor).__name__} under {name!r}; an update is made of "
                "tensors by name, as module.state_dict() gives them."
            )
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        written[name] = own.clone() if storage in seen else own
        seen.add(storage)
    return written
