"""torch.export archives (.pt2) in and out, without running anything in them on load.

`torch.export.load` must not see an upload: it unpickles weights, constants and sample inputs
without restriction, evaluates shape expressions (sympy) and guards as Python, imports modules that
a tree spec names, and writes names into Python source that it then runs. Here the program's JSON is
searched first, against lists of what is harmless, and rebuilt without what is not needed; tensors
are read from their raw bytes; then torch's own deserialiser makes the graph. What an honest export
of a model from one tensor to one tensor consists of passes; all else is refused by name.
"""

import json
import keyword
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from compute.contract import Rejected, RejectionReason
from compute.state_dicts import StateDict

MAX_JSON_BYTES = 16 * 1024**2
MAX_NODES = 20_000
MAX_DEPTH = 60

Json = Mapping[str, object]

_PROGRAM = "models/model.json"
_WEIGHTS = "data/weights/"
_WEIGHTS_INDEX = "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/"
_CONSTANTS_INDEX = "data/constants/model_constants_config.json"

_TARGET = re.compile(r"torch\.ops\.aten\.(?!__\w*__\.)[a-z_]\w*\.(?!_)\w+", re.ASCII)
_DENIED_TARGETS = ("torch.ops.aten.from_file.",)
# Python's operators on sizes.
_SIZE_OPERATORS = {
    f"_operator.{name}"
    for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "eq", "ne", "lt", "le", "gt", "ge")
}
# What a string may be made of that ends up in Python source: nothing that ends a literal or begins
# a call.
_PLAIN = re.compile(r"[\w.,:>\- ]{0,400}", re.ASCII)
_NAME_KEYS = {"name", "as_name", "class_fqn"}
_FORBIDDEN_KEYS = {"as_graph", "as_operator", "as_custom_obj", "custom_obj", "token"}
# sympy's srepr of a size: functions of symbols and integers. Powers could be made huge.
_EXPRESSION = re.compile(r"[\w(), =\-']{1,400}", re.ASCII)
_EXPRESSION_NAMES = frozenset(
    {
        *("Symbol", "Integer", "Add", "Mul", "Max", "Min", "Mod", "PythonMod"),
        *("FloorDiv", "CleanDiv", "CeilDiv"),
        *("positive", "integer", "nonnegative", "True", "False"),
    }
)
_SYMBOL = re.compile(r"'[su]\d{1,9}'", re.ASCII)
_TRAINS = "starling_trains"
_SEND = "Send a TorchScript archive instead (torch.jit.script, then torch.jit.save)."


def load_exported_program(path: Path) -> torch.fx.GraphModule:
    """The program as a module whose parameters and buffers have the exported model's names.

    Its mode is the one it was exported in; it cannot be switched.

    Raises:
        Rejected: something in it is not on the list of the harmless; names what.
    """
    from torch._export.serde import schema
    from torch._export.serde.serialize import ExportedProgramDeserializer, _dict_to_dataclass

    archive = _Archive(path)
    program = _harmless_program(archive.read_json(_PROGRAM))
    program_nodes = _nodes(program)
    state = archive.tensors(_WEIGHTS_INDEX, _WEIGHTS)
    constants = archive.tensors(_CONSTANTS_INDEX, _CONSTANTS)
    exported = ExportedProgramDeserializer().deserialize(
        _dict_to_dataclass(schema.ExportedProgram, program), state, constants, None
    )
    for node in exported.graph.nodes:
        if node.op == "call_function" and not _is_harmless_target(node.target):
            raise _unsafe(f"calls {node.target}")
    module: torch.fx.GraphModule = exported.module(check_guards=False)
    # They refuse to switch a mode that is fixed; for us, asking for eval mode must do no harm.
    for method in ("train", "eval"):
        vars(module).pop(method, None)
    module.meta[_TRAINS] = any(_trains(node) for node in program_nodes)
    return module


def is_fixed_in_training_mode(module: nn.Module) -> bool:
    """Whether this is an exported program whose dropout or normalisation is that of training."""
    return isinstance(module, torch.fx.GraphModule) and bool(module.meta.get(_TRAINS))


def write_exported_program(base_path: Path, state: StateDict, out_path: Path) -> None:
    """Write `base_path`'s archive with other weights; everything else stays, byte by byte.

    Args:
        state: All of the base's tensors, by name, with its shapes and dtypes.
        out_path: Its name becomes the archive's root folder.
    """
    archive = _Archive(base_path)
    index = archive.payloads(_WEIGHTS_INDEX)
    replaced = {
        _WEIGHTS + str(payload["path_name"]): state[name] for name, payload in index.items()
    }
    writer = torch._C.PyTorchFileWriter(str(out_path))  # noqa: SLF001 - as torch.export.save does
    for name in archive.names:
        if name in {"version", "byteorder"} or name.startswith(".data/"):
            continue  # the writer adds its own
        content = _raw(replaced[name]) if name in replaced else archive.read(name)
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()


class _Archive:
    def __init__(self, path: Path) -> None:
        # The reader that torch.export uses, so that both see the same records.
        self._reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001
        self.names: list[str] = self._reader.get_all_records()

    def read(self, name: str) -> bytes:
        if name not in self.names:
            raise _refused(f"has no {name}")
        content: bytes = self._reader.get_record(name)
        return content

    def read_json(self, name: str) -> dict[str, object]:
        content = self.read(name)
        if len(content) > MAX_JSON_BYTES:
            raise Rejected(
                RejectionReason.TOO_LARGE, f"The archive's {name} takes {len(content)} bytes."
            )
        parsed = json.loads(content)
        if not isinstance(parsed, dict):
            raise _refused(f"has no object in {name}")
        return parsed

    def payloads(self, index: str) -> dict[str, dict[str, object]]:
        """Name to description of every tensor in `index`."""
        config = self.read_json(index).get("config")
        if not isinstance(config, dict) or not all(isinstance(v, dict) for v in config.values()):
            raise _refused(f"has a damaged {index}")
        return config

    def tensors(self, index: str, folder: str) -> dict[str, Tensor]:
        """The tensors that `index` lists, of raw bytes and of no pickle; tied ones stay tied.

        Sizes were bounded with the archive's; a tensor's shape must account for all of its record.
        """
        shared: dict[str, Tensor] = {}
        found: dict[str, Tensor] = {}
        for name, payload in self.payloads(index).items():
            path_name = str(payload.get("path_name"))
            # Constants are either "tensor_<n>" or objects in some pickle.
            tensor_record = path_name.startswith("weight_" if folder == _WEIGHTS else "tensor_")
            if payload.get("use_pickle") is not False or not tensor_record:
                raise _unsafe(f"keeps {name} in a pickle")
            if path_name not in shared:
                tensor = _from_raw(name, payload, self.read(folder + path_name))
                shared[path_name] = nn.Parameter(tensor) if payload.get("is_param") else tensor
            found[name] = shared[path_name]
        return found


def _from_raw(name: str, payload: Json, content: bytes) -> Tensor:
    from torch._export.serde.serialize import deserialize_scalar_type

    meta = payload.get("tensor_meta")
    if not isinstance(meta, dict):
        raise _refused(f"does not describe {name}")
    shape = [_integer(size) for size in meta["sizes"]]
    dtype: torch.dtype = deserialize_scalar_type(meta["dtype"])
    # frombuffer refuses no bytes; reshape raises when the record holds more or less than the shape.
    flat = torch.frombuffer(bytearray(content or b"\0" * 16), dtype=dtype)
    tensor = flat[: len(content) // dtype.itemsize].reshape(shape)
    strides = [_integer(stride) for stride in meta["strides"]]
    if tensor.numel() and strides != list(tensor.stride()):
        raise _refused(f"keeps {name} in another order of dimensions than its own")
    return tensor


def _raw(tensor: Tensor) -> bytes:
    # Writes any dtype, as numpy would not.
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def _integer(value: object) -> int:
    number = value.get("as_int") if isinstance(value, dict) else None
    if not isinstance(number, int) or number < 0:
        raise _refused("has a size that is no number")
    return number


def _harmless_program(program: dict[str, object]) -> dict[str, object]:
    """A program for torch's deserialiser, without metadata; `program` is used up.

    Raises:
        Rejected: it has something in it that is not on the lists above.
    """
    nodes = _nodes(program)
    if len(nodes) > MAX_NODES:
        raise Rejected(RejectionReason.TOO_LARGE, f"The program has {len(nodes)} operations.")
    for node in nodes:
        node["metadata"] = {}
        target = str(node["target"])
        denied = target.startswith(_DENIED_TARGETS)
        if denied or not (_TARGET.fullmatch(target) or target in _SIZE_OPERATORS):
            raise _unsafe(f"calls {target[:100]}")
    module = cast("dict[str, object]", program["graph_module"])
    module["metadata"] = {}
    module["treespec_namedtuple_fields"] = {}
    program["guards_code"] = []
    program["torch_version"] = ""
    _require_plain(program, 0)
    return program


def _nodes(program: dict[str, object]) -> list[dict[str, object]]:
    module = cast("dict[str, object]", program["graph_module"])
    graph = cast("dict[str, object]", module["graph"])
    return cast("list[dict[str, object]]", graph["nodes"])


def _trains(node: dict[str, object]) -> bool:
    """Whether the operation was told that the model is being trained."""
    arguments = cast("list[dict[str, object]]", node["inputs"])
    return any(
        argument["name"] in {"train", "training"} and argument["arg"] == {"as_bool": True}
        for argument in arguments
    )


def _require_plain(value: object, depth: int, key: str = "") -> None:
    """Look at every string in the program, keys too."""
    if depth > MAX_DEPTH:
        raise _refused("is nested too deeply")
    if isinstance(value, dict):
        for name, item in value.items():
            if name in _FORBIDDEN_KEYS and item:
                raise _unsafe(f"uses {name.removeprefix('as_')}")
            if not _PLAIN.fullmatch(name):
                raise _unsafe("has names that are not plain")
            _require_plain(item, depth + 1, name)
    elif isinstance(value, list):
        for item in value:
            _require_plain(item, depth + 1, key)
    elif isinstance(value, str):
        _STRING_RULES.get(key, _require_plain_text)(value)


def _require_plain_text(text: str) -> None:
    if not _PLAIN.fullmatch(text):
        raise _unsafe("has texts that are not plain")


def _require_identifier(text: str) -> None:
    if text and (not _PLAIN.fullmatch(text) or not text.isidentifier() or keyword.iskeyword(text)):
        raise _unsafe("has names that are not plain")


def _require_expression(text: str) -> None:
    bare = _SYMBOL.sub("", text)
    names = re.findall(r"[A-Za-z_]\w*", bare)
    if not _EXPRESSION.fullmatch(text) or "'" in bare or not _EXPRESSION_NAMES.issuperset(names):
        raise _unsafe("computes sizes in an unusual way")


def _require_tree(text: str) -> None:
    """Arguments and results must be nested tuples and lists, and keyword arguments none."""
    if not text:
        return
    pending: list[object] = [json.loads(text)]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += value
        elif isinstance(value, dict):
            if value.get("type") not in {None, "builtins.tuple", "builtins.list", "builtins.dict"}:
                raise _refused("takes or gives more than plain tuples and lists of tensors")
            if value.get("context") not in {None, "null", "[]"}:
                raise _refused("takes or gives named tensors")
            pending += cast("list[object]", value.get("children_spec", []))


_STRING_RULES: dict[str, Callable[[str], None]] = {
    "name": _require_identifier,
    "as_name": _require_identifier,
    "forward_arg_names": _require_identifier,
    "expr_str": _require_expression,
    "in_spec": _require_tree,
    "out_spec": _require_tree,
}


def _is_harmless_target(target: object) -> bool:
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - the type has no public name
        return target.namespace == "aten"
    module, name = getattr(target, "__module__", ""), getattr(target, "__name__", "")
    return f"{module}.{name}" in _SIZE_OPERATORS | {"_operator.getitem"}


def _refused(what: str) -> Rejected:
    return Rejected(RejectionReason.NOT_A_MODEL, f"The torch.export archive (.pt2) {what}. {_SEND}")


def _unsafe(what: str) -> Rejected:
    return Rejected(
        RejectionReason.UNSAFE,
        f"The torch.export archive (.pt2) {what}, which is not accepted. {_SEND}",
    )
