"""Finds out whether a model treats each row of a batch for itself.

Only then may rows of several requests, or the stochastic passes of one, go through it together. A
model is taken at its deeds, on probe rows that depend on nothing but the shape and dtype; programs
(TorchScript) are first searched for what a probe may miss: control flow that depends on values,
state that is kept, and dropout of something else than the input, whose mask all rows would share.
"""

import math
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from compute.uncertainty.dropout_layers import (
    DROPOUT_OPERATORS,
    only_dropout_active,
    seed_dropout,
)

# Rows together may differ from rows alone by this much of the greatest output: other kernels.
TOLERANCE = 1e-4
# Beyond this estimate of multiplications a row keeps the machine busy by itself.
MAX_ROW_OPERATIONS = 2e10

# Nor is a slow model worth the passes of a probe: they count as time of whoever asks.
LONGEST_PASS_SECONDS = 0.2

_PROBE_ROWS = 3
_MASKED_ROWS = 8
_TO_SCALARS = {
    *("aten::Bool", "aten::Int", "aten::Float", "aten::Complex", "aten::item", "prim::tolist"),
    *("aten::IntImplicit", "aten::FloatImplicit", "aten::ScalarImplicit", "aten::is_nonzero"),
    *("aten::equal", "aten::allclose"),
}
_OPAQUE = {"prim::CallMethod", "prim::CallFunction", "prim::fork", "aten::wait"}
# Batch normalisation counts batches, in training only.
_HARMLESS_STATE = {"num_batches_tracked"}


def row_operations(num_parameters: int, row: torch.Size) -> float:
    """A generous estimate of the multiplications that one row takes: every parameter everywhere.

    Args:
        row: Shape without the batch dimension.
    """
    positions = row.numel() / max(1, min(row, default=1))
    return num_parameters * max(1.0, positions)


def treats_rows_alone(
    model: nn.Module, row: torch.Size, dtype: torch.dtype, *, stochastic: bool
) -> bool:
    """Whether a batch's outputs are those of its rows alone, within `TOLERANCE`.

    Args:
        model: In eval mode; takes a few passes, and is left as it was.
        row: Shape of an input without the batch dimension.
        stochastic: Whether also the masks of its dropout must differ from row to row.
    """
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if row_operations(num_parameters, row) > MAX_ROW_OPERATIONS or not row.numel():
        return False
    if not all(_is_plain(program, stochastic=stochastic) for program in _programs(model)):
        return False
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    rows = _probe(row, dtype).to(device)
    before = _fingerprint(model)
    try:
        with torch.no_grad():
            started = time.perf_counter()
            first = model(rows[:1])
            if time.perf_counter() - started > LONGEST_PASS_SECONDS:
                return False
            apart = torch.cat([first, *(model(one) for one in rows[1:].split(1))])
            together = model(rows)
            masked = not stochastic or _masks_differ(model, rows[:1])
    except Exception:  # noqa: BLE001 - the uploaded model's own code; it raises again when asked
        return False
    return masked and _agree(apart, together) and _fingerprint(model) == before


def _probe(row: torch.Size, dtype: torch.dtype) -> Tensor:
    """Rows that differ, shape (3, …); integers are 0 and 1, which every vocabulary has."""
    generator = torch.Generator().manual_seed(0)
    shape = (_PROBE_ROWS, *row)
    if dtype.is_floating_point:
        return torch.rand(shape, generator=generator).mul_(2).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def _agree(apart: object, together: object) -> bool:
    if not isinstance(apart, Tensor) or not isinstance(together, Tensor):
        return False
    comparable = apart.shape == together.shape and len(apart) == _PROBE_ROWS
    if not comparable or not together.is_floating_point():
        return False
    expected, found = apart.double(), together.double()
    scale = float(expected.abs().max()) if expected.numel() else math.nan
    # Rows with the same output would hide what one does to the other.
    if not math.isfinite(scale) or any(torch.equal(one, expected[0]) for one in expected[1:]):
        return False
    return bool(((found - expected).abs() <= TOLERANCE * scale).all())


def _masks_differ(model: nn.Module, row: Tensor) -> bool:
    """Whether copies of one row come out differently where dropout makes a difference at all."""
    copies = row.expand(_MASKED_ROWS, *row.shape[1:])
    devices = [row.device] if row.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), only_dropout_active(model) as active:
        if not active:
            return False
        seed_dropout(0, row.device)
        together = model(copies)
        apart = [model(row) for _ in range(_MASKED_ROWS)]
    differ_apart = any(not torch.equal(one, apart[0]) for one in apart[1:])
    differ_together = any(not torch.equal(one, together[0]) for one in together[1:])
    return differ_together or not differ_apart


def _fingerprint(model: nn.Module) -> list[tuple[int, int]]:
    """Changes when a tensor of the model is replaced or written to."""
    tensors = [*model.parameters(), *model.buffers()]
    return [(tensor.data_ptr(), tensor._version) for tensor in tensors]  # noqa: SLF001


def _programs(model: nn.Module) -> list[nn.Module]:
    """The model's parts that must be plain programs, if any is one."""
    if not any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        return []
    return list(model) if type(model) is nn.Sequential else [model]


def _is_plain(program: nn.Module, *, stochastic: bool) -> bool:
    """Whether it is a program that does the same whatever the values, and keeps nothing."""
    if not isinstance(program, torch.jit.ScriptModule):
        return False
    script_module = program._c  # noqa: SLF001 - the wrapper hides methods that are not exported
    if script_module._get_forward_hooks() or script_module._get_forward_pre_hooks():  # noqa: SLF001
        return False
    graph = script_module._get_method("forward").inlined_graph  # noqa: SLF001
    _, *inputs = graph.inputs()
    from_input = {value.debugName() for value in inputs}
    for _ in range(2):  # what a loop carries around reaches its beginning in the second walk
        _mark(graph, from_input)
    for node in _all_nodes(graph):
        kind = node.kind()
        if kind in _OPAQUE or (kind == "prim::SetAttr" and node.s("name") not in _HARMLESS_STATE):
            return False
        if kind in _TO_SCALARS and _names(node.inputs()) & from_input:
            return False
        if stochastic and kind in DROPOUT_OPERATORS:
            masked = next(iter(node.inputs())).debugName()
            if masked not in from_input:
                return False
    return True


def _mark(block: "torch._C.Graph | torch._C.Block", from_input: set[str]) -> None:
    """Add the names of all tensors that are computed from those in `from_input`."""
    for node in block.nodes():
        if _names(node.inputs()) & from_input:
            from_input |= _tensor_names(node.outputs())
            for inner in node.blocks():
                from_input |= _tensor_names(inner.inputs())
        for inner in node.blocks():
            _mark(inner, from_input)
            if _names(inner.outputs()) & from_input:
                from_input |= _tensor_names(node.outputs()) | _tensor_names(inner.inputs())


def _all_nodes(block: "torch._C.Graph | torch._C.Block") -> Iterator["torch._C.Node"]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _all_nodes(inner)


def _names(values: Iterable["torch._C.Value"]) -> set[str]:
    return {value.debugName() for value in values}


def _tensor_names(values: Iterable["torch._C.Value"]) -> set[str]:
    return {value.debugName() for value in values if "Tensor" in str(value.type())}
