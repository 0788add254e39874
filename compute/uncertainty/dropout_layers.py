"""Finds a model's dropout and switches on that and nothing else.

In a Python module, dropout is a layer of torch.nn whose `training` flag is set. In a TorchScript
module it is found by what the program does: a submodule whose `training` flag is read by dropout
operators only, however the dropout was written (a layer, or `functional.dropout` with
`self.training`). Cannot be switched on: dropout with a constant flag, as in traced and frozen
modules and in torch.export's graphs, and functional dropout in a module that also reads its flag
for something else.
"""

import contextlib
from collections.abc import Iterator
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

DROPOUT_OPERATORS = {
    "aten::dropout",
    "aten::dropout_",
    "aten::alpha_dropout",
    "aten::alpha_dropout_",
    "aten::feature_dropout",
    "aten::feature_dropout_",
    "aten::feature_alpha_dropout",
    "aten::feature_alpha_dropout_",
    "aten::native_dropout",
    # These take the flag for the dropout between their layers and for nothing else.
    "aten::lstm",
    "aten::gru",
    "aten::rnn_tanh",
    "aten::rnn_relu",
}
# They have a dropout probability beside other layers' work; the flag governs only the dropout.
_WITH_DROPOUT_WITHIN = {"MultiheadAttention", "LSTM", "GRU", "RNN"}
# In eval mode these take a fused path around their dropout layers; their flag only prevents that.
_WITH_FUSED_PATH = {"TransformerEncoder", "TransformerEncoderLayer"}

# A model does not change once it is loaded, and looking through one takes as long as a small
# model's answer. What is found is held weakly: it may be the model itself.
_switches: WeakKeyDictionary[nn.Module, list[ref[nn.Module]]] = WeakKeyDictionary()


@contextlib.contextmanager
def only_dropout_active(model: nn.Module) -> Iterator[bool]:
    """The model with only its dropout active; gives whether there is any.

    Args:
        model: In eval mode, and so again at the end; always of the same modules.
    """
    if model not in _switches:
        _switches[model] = [ref(module) for module in _switched(model)]
    switched = [module for it in _switches[model] if (module := it()) is not None]
    for module in switched:
        module.training = True  # not .train(), which would take the children along
    try:
        yield bool(switched)
    finally:
        for module in switched:
            module.training = False


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what dropout on this device draws from: torch's global generator there.

    `torch.manual_seed` seeds every kind of device, which takes longer than a small model's pass.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def has_dropout(model: nn.Module) -> bool:
    """Whether the model has dropout that can be switched on."""
    return bool(_switched(model))


def _switched(model: nn.Module) -> list[nn.Module]:
    """The modules whose flag is set for a pass with dropout; none if it has no dropout."""
    layers = [module for module in model.modules() if _is_dropout(module)]
    fused = [module for module in model.modules() if _class_name(module) in _WITH_FUSED_PATH]
    return [*layers, *fused] if layers else []


def _is_dropout(module: nn.Module) -> bool:
    if _class_name(module) in _WITH_DROPOUT_WITHIN:
        return float(getattr(module, "dropout", 0.0)) > 0
    if isinstance(module, torch.jit.ScriptModule):
        return _flag_means_dropout(module)
    return isinstance(module, nn.modules.dropout._DropoutNd)  # noqa: SLF001 - their only base


def _class_name(module: nn.Module) -> str:
    if not isinstance(module, torch.jit.ScriptModule):
        return type(module).__name__
    # A script module of anyone's class may be called LSTM; only torch's own are meant.
    qualified = str(module._c._type().qualified_name())  # noqa: SLF001 - it has no public way
    is_torchs = ".torch.nn.modules." in qualified and hasattr(module, "training")
    return str(module.original_name) if is_torchs else ""


def _flag_means_dropout(module: torch.jit.ScriptModule) -> bool:
    """Whether the module's own `training` flag is read, and by dropout operators only."""
    script_module = module._c  # noqa: SLF001 - the wrapper hides methods that are not exported
    readers: set[str] = set()
    for name in script_module._method_names():  # noqa: SLF001
        graph = script_module._get_method(name).inlined_graph  # noqa: SLF001
        this = next(graph.inputs()).debugName()
        for node in graph.findAllNodes("prim::GetAttr", recurse=True):
            if node.s("name") == "training" and node.input().debugName() == this:
                readers.update(use.user.kind() for use in node.output().uses())
    return bool(readers) and readers <= DROPOUT_OPERATORS
