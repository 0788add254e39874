"""Tensors in fewer bits: bfloat16, or 8-bit integers with a scale and an offset.

A safetensors file says of itself what is encoded in it: its metadata has, under
`starling.encoded`, a JSON object from tensor name to

    {"encoding": "bf16", "dtype": "float32"}
    {"encoding": "int8", "dtype": "float32", "scale": <tensor name>, "minimum": <tensor name>}

where `dtype` (float32 or float64) is what it decodes to. A bf16 tensor has dtype BF16. An int8
tensor q has dtype U8; its `scale` s and `minimum` m are tensors of the same file, float32 or
float64, with one element, or one for each index of the first dimension (a channel). They are no
part of the state dict.

    bf16    x' = q           |x' - x| <= 2**-8 |x|, for 2**-126 <= |x| < 2**127
    int8    x' = m + s q     |x' - x| <= s / 2 + ulp(x') / 2, s = (max - min) / 255 of the channel

Decoding is done in float64 and rounded once, so the same file gives the same bits everywhere: hash,
audit log and verification are about the file as it was sent.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec
import torch
from torch import Tensor

from compute.contract import Rejected, RejectionReason, TensorEncoding
from compute.state_dicts import SLICE_ELEMENTS, StateDict

METADATA_KEY = "starling.encoded"
LEVELS = 255

_Dtype = Literal["float32", "float64"]
_DTYPES: dict[_Dtype, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}
_NAMES: dict[torch.dtype, _Dtype] = {dtype: name for name, dtype in _DTYPES.items()}


class _Encoded(msgspec.Struct, frozen=True, tag_field="encoding", forbid_unknown_fields=True):
    """How one tensor of a file is encoded."""

    dtype: _Dtype


class _Bfloat16(_Encoded, frozen=True, tag=TensorEncoding.BF16.value):
    """As bfloat16."""


class _Int8(_Encoded, frozen=True, tag=TensorEncoding.INT8.value):
    """As 8-bit integers; the names of the tensors that decode them."""

    scale: str
    minimum: str


_Table = dict[str, _Bfloat16 | _Int8]


def encoded(state: Mapping[str, Tensor], encoding: TensorEncoding) -> tuple[StateDict, str]:
    """The state dict in fewer bits, and the value of `METADATA_KEY` that goes with it.

    Every float32 and float64 tensor that is not empty is encoded; others stay as they are.

    Args:
        state: CPU tensors, finite; not modified.
    """
    table: _Table = {}
    tensors: StateDict = {}
    for name, tensor in state.items():
        dtype = _NAMES.get(tensor.dtype)
        if dtype is None or not tensor.numel():
            tensors[name] = tensor
        elif encoding is TensorEncoding.BF16:
            tensors[name] = tensor.bfloat16()
            table[name] = _Bfloat16(dtype)
        else:
            scale, minimum = _unused(f"{name}.scale", state), _unused(f"{name}.minimum", state)
            tensors[name], tensors[scale], tensors[minimum] = quantised(tensor)
            table[name] = _Int8(dtype, scale, minimum)
    return tensors, msgspec.json.encode(table).decode()


def quantised(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """8-bit levels, scale and minimum of a floating tensor.

    Args:
        tensor: Not empty, finite; not modified.

    Returns:
        uint8 of the tensor's shape; float64 scale and minimum of shape (channels,), where a channel
        is an index of the first dimension of a tensor of two or more, else the whole tensor.
    """
    channels = tensor.shape[0] if tensor.ndim > 1 else 1
    rows = tensor.detach().reshape(channels, -1)  # (channels, elements)
    low, high = torch.aminmax(rows, dim=1)
    minimum = low.double()
    scale = (high.double() - minimum) / LEVELS
    # A channel of one value has no steps: all of it is the minimum.
    steps = torch.where(scale > 0, scale, 1.0)
    levels = torch.empty(rows.shape, dtype=torch.uint8)
    for some, columns in _tiles(channels, rows.shape[1]):
        distances = rows[some, columns].double() - minimum[some, None]
        levels[some, columns] = distances.div_(steps[some, None]).round_().clamp_(0, LEVELS)
    return levels.reshape(tensor.shape), scale, minimum


def decoded(state: StateDict, metadata: Mapping[str, str]) -> StateDict:
    """The tensors that a file stands for, in its order; `state` itself when nothing is encoded.

    Args:
        state: Every tensor in the file; not modified.
        metadata: The file's.

    Raises:
        Rejected: the metadata does not fit the tensors.
    """
    given = metadata.get(METADATA_KEY)
    if given is None:
        return state
    try:
        table = msgspec.json.decode(given, type=_Table)
    except msgspec.DecodeError as error:
        raise _rejected(f"{error}.") from error
    if missing := sorted(table.keys() - state.keys()):
        raise _rejected(f"There is no tensor {missing[0]}.")
    parameters = {
        name
        for how in table.values()
        if isinstance(how, _Int8)
        for name in (how.scale, how.minimum)
    }
    if doubly := sorted(parameters & table.keys()):
        raise _rejected(f"Tensor {doubly[0]} decodes others and is encoded itself.")
    return {
        name: _decoded_tensor(name, tensor, table.get(name), state)
        for name, tensor in state.items()
        if name not in parameters
    }


def _decoded_tensor(
    name: str, tensor: Tensor, how: _Bfloat16 | _Int8 | None, state: StateDict
) -> Tensor:
    match how:
        case None:
            return tensor
        case _Bfloat16():
            _require_dtype(name, tensor, torch.bfloat16)
            return tensor.to(_DTYPES[how.dtype])
        case _Int8():
            _require_dtype(name, tensor, torch.uint8)
            scale = _parameter(name, how.scale, tensor, state)
            minimum = _parameter(name, how.minimum, tensor, state)
            if len(scale) != len(minimum):
                raise _rejected(f"Tensors {how.scale} and {how.minimum} differ in size.")
            return _dequantised(tensor, scale, minimum, _DTYPES[how.dtype])


def _dequantised(levels: Tensor, scale: Tensor, minimum: Tensor, dtype: torch.dtype) -> Tensor:
    channels = len(scale)
    rows = levels.reshape(channels, -1) if levels.numel() else levels.reshape(channels, 0)
    values = torch.empty(rows.shape, dtype=dtype)
    for some, columns in _tiles(channels, rows.shape[1]):
        # Two operations and not one fused: the same bits on every machine.
        scaled = rows[some, columns].double().mul_(scale[some, None])
        values[some, columns] = scaled.add_(minimum[some, None])
    return values.reshape(levels.shape)


def _parameter(name: str, parameter: str, tensor: Tensor, state: StateDict) -> Tensor:
    """One float64 for the tensor, or for each of its channels."""
    found = state.get(parameter)
    if found is None:
        raise _rejected(f"There is no tensor {parameter} to decode {name} with.")
    channels = tensor.shape[0] if tensor.ndim else 1
    if found.dtype not in _NAMES or found.numel() not in {1, channels}:
        raise _rejected(
            f"Tensor {parameter} must be float32 or float64 with 1 or {channels} elements."
        )
    return found.detach().double().reshape(-1)


def _require_dtype(name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    if tensor.dtype != dtype:
        expected, got = (str(each).removeprefix("torch.") for each in (dtype, tensor.dtype))
        raise _rejected(f"Tensor {name} has dtype {got}, expected {expected}.")


def _tiles(rows: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns that cover a matrix, each tile of at most `SLICE_ELEMENTS` scalars."""
    columns = min(max(1, width), SLICE_ELEMENTS)
    group = SLICE_ELEMENTS // columns
    for top in range(0, rows, group):
        for left in range(0, width, columns):
            yield slice(top, top + group), slice(left, left + columns)


def _unused(name: str, state: Mapping[str, Tensor]) -> str:
    while name in state:
        name += "_"
    return name


def _rejected(what: str) -> Rejected:
    return Rejected(RejectionReason.NOT_A_MODEL, f"Metadata {METADATA_KEY}: {what}")
