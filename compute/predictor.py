"""Holds models on its device and predicts with them.

A plain class that knows no transport: Ray wraps it, tests and benchmarks call it.
"""

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import msgspec
import safetensors.torch
import torch
from torch import Tensor, nn

from compute.blobs import BlobStore
from compute.contract import Predict, Prediction, Rejected, ReturnFormat
from compute.exported_programs import is_fixed_in_training_mode
from compute.formats import load_module, load_preprocessing, load_tensor
from compute.model_inputs import Preprocessing, bad_input, failed, model_input
from compute.uncertainty import Estimate, Moments, Sampling, find_method

CACHE_BYTES = 2 * 1024**3

_Kept = TypeVar("_Kept")


class Predictor:
    """Predicts with models from the blob store, which stay loaded while there is room.

    Blobs never change, so neither do loaded models: what is kept is found by digest and let go of
    when it was used least recently. May be called from several threads; calls wait for each other.
    """

    def __init__(
        self, store: BlobStore, device: torch.device, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._store = store
        self._device = device
        self._loaded = _LeastRecentlyUsed(cache_bytes)
        self._lock = threading.Lock()

    def predict(self, order: Predict) -> Prediction:
        """The encoded answer to one order.

        Raises:
            Rejected: BAD_INPUT, TOO_LARGE or INCOMPATIBLE, with a sentence for the caller.
            BlobError: a blob is missing or cannot be read now.
        """
        if order.samples < 1:
            raise bad_input("At least one sample is needed.")
        try:
            with self._lock:
                estimate = self._estimate(order)
            return Prediction(content=encoded(estimate, order.return_format))
        except MemoryError as error:
            raise failed("The prediction", error) from error

    def _estimate(self, order: Predict) -> Estimate:
        batch = model_input(order, self._preprocessing(order.preprocessing_key))
        models = [self._model(key) for key in order.model_keys]
        sampling = Sampling(
            samples=order.samples,
            softmax=order.softmax,
            seed=order.seed,
            moments=self._moments(order.moment_keys),
        )
        method = find_method(order.method)
        try:
            with torch.no_grad():
                return method(models, batch.to(self._device), sampling)
        except Rejected:
            raise
        except Exception as error:
            raise failed("The model", error) from error

    def _model(self, key: str) -> nn.Module:
        def load() -> tuple[nn.Module, int]:
            with self._store.local_path(key) as path:
                model = load_module(path)
            if is_fixed_in_training_mode(model):
                raise bad_input(
                    "The model was exported in training mode; call .eval() before "
                    "torch.export.export."
                )
            return model.to(self._device), _nbytes(*model.parameters(), *model.buffers())

        return self._loaded.get(("model", key), load)

    def _preprocessing(self, key: str | None) -> Preprocessing | None:
        if key is None:
            return None

        def load() -> tuple[Preprocessing, int]:
            with self._store.local_path(key) as path:
                preprocessing = load_preprocessing(path)
                return preprocessing, path.stat().st_size

        return self._loaded.get(("preprocessing", key), load)

    def _moments(self, keys: tuple[str, str] | None) -> Moments | None:
        if keys is None:
            return None

        first, second = keys
        return Moments(self._moment(first), self._moment(second))

    def _moment(self, key: str) -> Tensor:
        def load() -> tuple[Tensor, int]:
            with self._store.local_path(key) as path:
                tensor = load_tensor(path)
            return tensor, tensor.nbytes

        return self._loaded.get(("moment", key), load)


def encoded(estimate: Estimate, return_format: ReturnFormat) -> bytes:
    """The answer as JSON (non-finite numbers as null), a pickle of tensors, or safetensors."""
    inference = _own(estimate.inference)
    uncertainty = {name: _own(tensor) for name, tensor in estimate.uncertainty.items()}
    match return_format:
        case ReturnFormat.JSON:
            figures = {name: tensor.tolist() for name, tensor in uncertainty.items()}
            # msgspec writes NaN and infinities as null.
            return msgspec.json.encode({"inference": inference.tolist(), "uncertainty": figures})
        case ReturnFormat.BINARY:
            return pickle.dumps({"inference": inference, "uncertainty": uncertainty}, protocol=4)
        case ReturnFormat.SAFETENSORS:
            named = {f"uncertainty.{name}": tensor for name, tensor in uncertainty.items()}
            return safetensors.torch.save({"inference": inference, **named})


def _own(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous, with a storage that holds nothing else."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _nbytes(*tensors: Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)


class _LeastRecentlyUsed:
    """Keeps what was loaded, up to a number of bytes; always what was used last."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()

    def get(self, key: Hashable, load: Callable[[], tuple[_Kept, int]]) -> _Kept:
        """What `key` stands for; `load` gives it and its bytes when it is not there."""
        if key not in self._entries:
            self._entries[key] = load()
        self._entries.move_to_end(key)
        while len(self._entries) > 1 and self._kept_bytes() > self._limit_bytes:
            self._entries.popitem(last=False)
        return cast("_Kept", self._entries[key][0])

    def _kept_bytes(self) -> int:
        return sum(size for _, size in self._entries.values())
