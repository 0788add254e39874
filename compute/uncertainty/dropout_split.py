"""Splits a model before its first dropout: what comes before it is the same in every pass.

Found where the layers are known to come one after another: in a `torch.nn.Sequential`, and in a
TorchScript module whose `forward` does nothing but call its modules, each on what the one before
gave; also within each other.
"""

from typing import NamedTuple

import torch
from torch import nn

from compute.uncertainty.dropout_layers import has_dropout


class DropoutSplit(NamedTuple):
    """A model in two, of the model's own modules: `after(before(x))` is what it gives for x.

    Attributes:
        before: Has no dropout that can be switched on.
        after: Begins with the first layer that has.
    """

    before: nn.Module
    after: nn.Module


def split_before_dropout(model: nn.Module) -> DropoutSplit | None:
    """The model in two; None where its layers are not known, or the first one has dropout."""
    layers = _layers(model)
    first = next((index for index, layer in enumerate(layers) if has_dropout(layer)), 0)
    if not first:
        return None
    # Not scripted, where they are programs: what that compiles stays in memory for good.
    before, after = (nn.Sequential(*part).eval() for part in (layers[:first], layers[first:]))
    return DropoutSplit(before, after)


def _layers(model: nn.Module) -> list[nn.Module]:
    """Modules that give what the model gives when each is called on what the one before gave."""
    if isinstance(model, torch.jit.ScriptModule):
        children = dict(model.named_modules(remove_duplicate=False))
        chain = [children[name] for name in _called_in_turn(model)]
    else:
        # A subclass may do anything.
        chain = list(model) if type(model) is nn.Sequential else []
    return [layer for part in chain for layer in _layers(part)] or [model]


def _called_in_turn(program: torch.jit.ScriptModule) -> list[str]:
    """Names of the modules that are all that `forward` calls, in turn; none if it does more."""
    graph = program._c._get_method("forward").graph  # noqa: SLF001 - it has no public way
    this, *inputs = (value.debugName() for value in graph.inputs())
    if len(inputs) != 1:
        return []
    modules: dict[str, str] = {}
    called: list[str] = []
    result = inputs
    for node in graph.nodes():
        given = [value.debugName() for value in node.inputs()]
        if node.kind() == "prim::GetAttr" and given == [this]:
            modules[node.output().debugName()] = node.s("name")
        elif (
            node.kind() == "prim::CallMethod"
            and node.s("name") == "forward"
            and given[0] in modules
            and given[1:] == result
            and str(node.output().type()) == "Tensor"
        ):
            called.append(modules[given[0]])
            result = [node.output().debugName()]
        else:
            return []
    return called if [value.debugName() for value in graph.outputs()] == result else []
