"""Holds models on its device and predicts with them.

A plain class that knows no transport: Ray wraps it, tests and benchmarks call it.
"""

import functools
import os
import pickle
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import msgspec
import safetensors.torch
import torch
from torch import Tensor, nn

from compute.blobs import BlobError, BlobStore
from compute.contract import Predict, Prediction, Rejected, ReturnFormat, UncertaintyMethod
from compute.exported_programs import is_fixed_in_training_mode
from compute.formats import load_module, load_module_as, load_preprocessing, load_tensor
from compute.model_inputs import Preprocessing, bad_input, failed, model_input
from compute.uncertainty import Estimate, Moments, Sampling, find_method
from compute.uncertainty.dropout_split import DropoutSplit, split_before_dropout
from compute.uncertainty.row_independence import row_operations, treats_rows_alone

CACHE_BYTES = 2 * 1024**3
# Most rows, and bytes of them, that go through a model together; more would only take more memory.
MAX_ROWS = 128
MAX_ROW_BYTES = 4 * 1024**2
# From here on a pass is shared by several threads: of the model, and of `row_operations`.
MANY_BYTES = 8 * 1024**2
MANY_OPERATIONS = 1e9
MAX_VERDICTS = 64

_Kept = TypeVar("_Kept")


@dataclass(eq=False)
class _Loaded:
    """A model on its device, and what was found out about it: whether it treats rows alone.

    Attributes:
        verdicts: Whether the model, or its layers before dropout, treat such rows alone.
    """

    module: nn.Module
    num_parameters: int
    size_bytes: int
    verdicts: dict[tuple[nn.Module, torch.Size, torch.dtype, bool], bool] = field(
        default_factory=dict
    )

    def treats_rows_alone(self, row: torch.Size, dtype: torch.dtype, *, stochastic: bool) -> bool:
        return self._treats_rows_alone(self.module, row, dtype, stochastic=stochastic)

    def split(self, row: torch.Size, dtype: torch.dtype) -> DropoutSplit | None:
        """The model before its dropout, if that treats rows alone, too, and from there on."""
        split = self._split
        if split is None:
            return None
        alone = self._treats_rows_alone(split.before, row, dtype, stochastic=False)
        return split if alone else None

    @functools.cached_property
    def _split(self) -> DropoutSplit | None:
        return split_before_dropout(self.module)

    def _treats_rows_alone(
        self, module: nn.Module, row: torch.Size, dtype: torch.dtype, *, stochastic: bool
    ) -> bool:
        asked = (module, row, dtype, stochastic)
        if asked not in self.verdicts:
            if len(self.verdicts) >= MAX_VERDICTS:
                self.verdicts.clear()
            self.verdicts[asked] = treats_rows_alone(module, row, dtype, stochastic=stochastic)
        return self.verdicts[asked]


@dataclass(eq=False)
class _Asked:
    """An order with its input as a tensor on the CPU, and where its answer belongs."""

    index: int
    order: Predict
    batch: Tensor


class Predictor:
    """Predicts with models from the blob store, which stay loaded while there is room.

    Blobs never change, so neither do loaded models: what is kept is found by digest and let go of
    when it was used least recently. May be called from several threads; calls wait for each other.

    Rows of several orders, and the stochastic passes of one, go through a model together where the
    model was seen to treat rows alone. An answer is then the same as alone but for rounding
    (`row_independence.TOLERANCE` of the greatest output). With a seed it is the same to the bit:
    such an order shares no pass with another.
    """

    def __init__(
        self, store: BlobStore, device: torch.device, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._store = store
        self._device = device
        self._loaded = _LeastRecentlyUsed(cache_bytes)
        self._lock = threading.Lock()
        self._threads = len(os.sched_getaffinity(0))

    def predict(self, order: Predict) -> Prediction:
        """The encoded answer to one order.

        Raises:
            Rejected: BAD_INPUT, TOO_LARGE or INCOMPATIBLE, with a sentence for the caller.
            BlobError: a blob is missing or cannot be read now.
        """
        (answer,) = self.predict_all([order])
        if not isinstance(answer, Prediction):
            raise answer
        return answer

    def predict_all(self, orders: Sequence[Predict]) -> "list[Prediction | Rejected | BlobError]":
        """The answer to each order, or why there is none: see `predict`."""
        with self._lock:
            answers: dict[int, Prediction | Rejected | BlobError] = {}
            groups: defaultdict[Hashable, list[_Asked]] = defaultdict(list)
            for index, order in enumerate(orders):
                try:
                    asked = _Asked(index, order, self._input(order))
                    # What comes alone needs no company that is found out about.
                    group = asked if len(orders) == 1 else self._group(asked)
                    groups[group].append(asked)
                except (Rejected, BlobError) as error:
                    answers[index] = error
                except MemoryError as error:
                    answers[index] = failed("The prediction", error)
            for together in groups.values():
                for some in _portions(together):
                    answers.update(self._answers(some))
            return [answers[index] for index in range(len(orders))]

    def _input(self, order: Predict) -> Tensor:
        if order.samples < 1:
            raise bad_input("At least one sample is needed.")
        return model_input(order, self._preprocessing(order.preprocessing_key))

    def _group(self, asked: _Asked) -> Hashable:
        """Orders with equal groups share passes through their models."""
        order, batch = asked.order, asked.batch
        if order.seed is not None or order.method is UncertaintyMethod.SWAG:
            return asked
        if not self._treats_rows_alone(order, batch):
            return asked
        return (
            # Who made the model may have made it to answer with what others asked.
            *(order.asked_by, tuple(order.model_keys), order.structure_key),
            *(order.method, order.samples, order.softmax),
            *(batch.shape[1:], batch.dtype),
        )

    def _treats_rows_alone(self, order: Predict, batch: Tensor) -> bool:
        # Who fixes the batch dimension shall get it so.
        shape = order.input_shape
        if (shape and shape[0] is not None) or not batch.dim() or not len(batch):
            return False
        return all(
            self._model(key, order.structure_key).treats_rows_alone(
                batch.shape[1:],
                batch.dtype,
                stochastic=order.method is UncertaintyMethod.MC_DROPOUT,
            )
            for key in order.model_keys
        )

    def _answers(self, group: Sequence[_Asked]) -> dict[int, Prediction | Rejected | BlobError]:
        """Of orders that may share passes; what fails together, or belongs apart, is done alone."""
        if len(group) == 1:
            return {group[0].index: self._answer(group[0])}
        try:
            joined = self._estimate(group[0].order, torch.cat([asked.batch for asked in group]))
            parts = joined.split([len(asked.batch) for asked in group])
        except (Rejected, BlobError, MemoryError):
            parts = [None] * len(group)
        return {
            asked.index: self._answer(asked)
            if part is None
            else Prediction(content=encoded(part, asked.order.return_format))
            for asked, part in zip(group, parts, strict=True)
        }

    def _answer(self, asked: _Asked) -> Prediction | Rejected | BlobError:
        try:
            estimate = self._estimate(asked.order, asked.batch)
            return Prediction(content=encoded(estimate, asked.order.return_format))
        except (Rejected, BlobError) as error:
            return error
        except MemoryError as error:
            return failed("The prediction", error)

    def _estimate(self, order: Predict, batch: Tensor) -> Estimate:
        models = [self._model(key, order.structure_key) for key in order.model_keys]
        passes_at_once, split = 1, None
        stochastic = order.method is UncertaintyMethod.MC_DROPOUT and order.samples > 1
        if stochastic and len(models) == 1 and self._treats_rows_alone(order, batch):
            passes_at_once = max(1, _rows_at_once(batch) // len(batch))
            split = models[0].split(batch.shape[1:], batch.dtype)
        sampling = Sampling(
            samples=order.samples,
            softmax=order.softmax,
            seed=order.seed,
            moments=self._moments(order.moment_keys),
            passes_at_once=passes_at_once,
            split=split,
        )
        method = find_method(order.method)
        self._set_threads(models, batch)
        try:
            with torch.no_grad():
                return method([model.module for model in models], batch.to(self._device), sampling)
        except Rejected:
            raise
        except Exception as error:
            raise failed("The model", error) from error

    def _set_threads(self, models: Sequence[_Loaded], batch: Tensor) -> None:
        """One thread where waking another takes longer than what it would do."""
        row = batch.shape[1:]
        small = all(
            model.size_bytes < MANY_BYTES
            and row_operations(model.num_parameters, row) * _rows_at_once(batch) < MANY_OPERATIONS
            for model in models
        )
        wanted = 1 if small else self._threads
        if torch.get_num_threads() != wanted:
            torch.set_num_threads(wanted)

    def _model(self, key: str, structure_key: str | None) -> _Loaded:
        def load() -> tuple[_Loaded, int]:
            model = self._module(key, structure_key)
            if is_fixed_in_training_mode(model):
                raise bad_input(
                    "The model was exported in training mode; call .eval() before "
                    "torch.export.export."
                )
            size_bytes = _nbytes(*model.parameters(), *model.buffers())
            num_parameters = sum(parameter.numel() for parameter in model.parameters())
            return _Loaded(model.to(self._device), num_parameters, size_bytes), size_bytes

        return self._loaded.get(("model", key, structure_key), load)

    def _module(self, key: str, structure_key: str | None) -> nn.Module:
        with self._store.local_path(key) as path:
            if structure_key is None:
                return load_module(path)
            with self._store.local_path(structure_key) as structure_path:
                return load_module_as(path, structure_path)

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


def _rows_at_once(batch: Tensor) -> int:
    """How many rows like those of `batch` may go through a model together."""
    row_bytes = batch.nbytes // max(1, len(batch)) if batch.dim() else 0
    return max(1, min(MAX_ROWS, MAX_ROW_BYTES // max(1, row_bytes)))


def _portions(group: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """The group in order, in parts that have as many rows as may go together."""
    portion: list[_Asked] = []
    rows = 0
    for asked in group:
        more = len(asked.batch) if asked.batch.dim() else 1
        if portion and rows + more > _rows_at_once(asked.batch):
            yield portion
            portion, rows = [], 0
        portion.append(asked)
        rows += more
    yield portion


def encoded(estimate: Estimate, return_format: ReturnFormat) -> bytes:
    """The answer as JSON (non-finite numbers as null), a pickle of tensors, or safetensors."""
    if return_format is ReturnFormat.JSON:
        figures = {name: tensor.tolist() for name, tensor in estimate.uncertainty.items()}
        # msgspec writes NaN and infinities as null.
        numbers = {"inference": estimate.inference.tolist(), "uncertainty": figures}
        return msgspec.json.encode(numbers)
    inference = _own(estimate.inference)
    uncertainty = {name: _own(tensor) for name, tensor in estimate.uncertainty.items()}
    match return_format:
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
