"""Refuses TorchScript programs that could reach beyond their tensors.

TorchScript has no import and no eval, but a few of its operators open files or talk to other
processes, and some code runs while an archive is being loaded. The archive's source is therefore
searched before it is loaded, and every graph afterwards.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from compute.contract import Rejected, RejectionReason

_NAMESPACES = {"aten", "prim", "torchvision", "quantized"}
_OPERATORS = {
    "aten::from_file",
    "aten::save",
    "prim::PythonOp",
    "prim::rpc_async",
    "prim::rpc_sync",
    "prim::rpc_remote",
}
# %x : Tensor = aten::add(…), aten::add[attr=…](…), and subgraphs' nodes printed the same way.
_NODE = re.compile(r"(?:= |^\s*)\^?([A-Za-z_]\w*)::(\w+)[(\[]", re.MULTILINE)
_SOURCE_CALL = re.compile(rb"\b(?:torch|ops\.\w+)\.(from_file|save|load)\s*\(")
_SOURCE_NAMES = {
    b"__setstate__": "runs code while it is loaded (__setstate__)",
    b"torch.classes": "uses custom C++ classes (torch.classes)",
    b"(Interface)": "declares interfaces",
    b"(ModuleInterface)": "declares interfaces",
}


def require_harmless_source(path: Path) -> bool:
    """Look through an archive's source and pickles without loading it.

    The same reader is used as by `torch.jit.load`, so that both see the same records.

    Returns:
        Whether it calls operators of torchvision.

    Raises:
        Rejected: something in it runs at load time, opens files or uses custom classes.
    """
    calls_torchvision = False
    reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001 - jit.load has no dry run
    for name in reader.get_all_records():
        if not name.endswith((".py", ".pkl")):
            continue
        source: bytes = reader.get_record(name)
        call = _SOURCE_CALL.search(source)
        if call:
            raise _unsafe(f"calls torch.{call[1].decode()}, which opens files")
        for text, what in _SOURCE_NAMES.items():
            if text in source:
                raise _unsafe(what)
        calls_torchvision |= b"ops.torchvision." in source
    return calls_torchvision


def require_harmless_graphs(module: torch.jit.ScriptModule) -> None:
    """Look through every method and hook of every submodule, with all calls inlined.

    Raises:
        Rejected: an operator opens files, or belongs to a namespace that is not plain computation.
    """
    for graph in _graphs(module):
        for namespace, name in _NODE.findall(graph):
            operator = f"{namespace}::{name}"
            if namespace not in _NAMESPACES or operator in _OPERATORS:
                raise _unsafe(f"calls the operator {operator}")


def _graphs(module: torch.jit.ScriptModule) -> Iterator[str]:
    """The inlined graphs as text, which shows nested blocks and forked subgraphs too."""
    pending = [module._c]  # noqa: SLF001 - the Python wrapper hides methods that are not exported
    while pending:
        script_module = pending.pop()
        functions = [
            *map(script_module._get_method, script_module._method_names()),  # noqa: SLF001
            *script_module._get_forward_hooks(),  # noqa: SLF001
            *script_module._get_forward_pre_hooks(),  # noqa: SLF001
        ]
        yield from (str(function.inlined_graph) for function in functions)
        pending += [child for _, child in torch._C.ModuleDict(script_module).items()]  # noqa: SLF001


def _unsafe(what: str) -> Rejected:
    return Rejected(
        RejectionReason.UNSAFE,
        f"The TorchScript program {what}; send one that only computes on tensors.",
    )
