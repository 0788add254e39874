"""Model files in and out, safely; the only place that deserialises.

The container is found by looking at the bytes. Nothing in a file is run to find out what it is:
pickles go through `torch.load(weights_only=True)` with a list of allowed classes, TorchScript is
searched for operators that open files, and sizes are bounded before anything is read.
"""

import struct
import sys
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from pickle import UnpicklingError

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from compute.allowed_classes import FUNCTIONS, module_classes
from compute.archive_layouts import (
    Skeleton,
    known_template,
    learn_layout,
    learn_template,
    map_known,
    read_safetensors_skeleton,
    read_skeleton,
)
from compute.blobs import BlobRef, BlobStore, require_room
from compute.contract import ModelFormat, ModelReport, Rejected, RejectionReason
from compute.encodings import decoded
from compute.exported_programs import load_exported_program, write_exported_program
from compute.model_statistics import layer_statistics
from compute.state_dicts import StateDict, require_finite
from compute.torchscript_scan import require_harmless_graphs, require_harmless_source

MAX_TENSORS = 8192
MAX_PICKLE_BYTES = 64 * 1024**2
MAX_DIRECTORY_BYTES = 16 * 1024**2
MAX_TENSOR_BYTES = 64 * 1024**3
# What an honest archive may hold beyond its own size: compressed source, tensors that share memory.
SLACK_BYTES = 64 * 1024**2
MAX_EXPANSION = 8

_SEND_MODEL = (
    "Send a TorchScript archive (torch.jit.save), a pickled torch.nn module "
    "(torch.save(model, …)) or a torch.export archive (.pt2)."
)
_SEND_UPDATE = (
    "Send the trained model in the format you received, its state dict saved by torch.save, or "
    "safetensors."
)
_TENSORS_ALONE = {ModelFormat.SAFETENSORS, ModelFormat.PICKLED_STATE_DICT}
_ZIP_END = b"PK\x05\x06"
_READ_ERRORS = (
    RuntimeError,  # PyTorch's readers, and too deep nesting
    UnpicklingError,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
    struct.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    AssertionError,
    NotImplementedError,
)
_HOOKS = tuple(name for name in vars(nn.Identity()) if name.endswith("_hooks"))


class _Container(Enum):
    TORCHSCRIPT = auto()
    TORCH_SAVE = auto()
    SAFETENSORS = auto()
    EXPORTED_PROGRAM = auto()


def inspect_model(path: Path, input_shape: list[int | None] | None = None) -> ModelReport:
    """What an uploaded global model is, after making sure that it is one.

    Raises:
        Rejected: not a model, unsafe, too large, or it has nothing to train.
    """
    module = load_module(path)
    state = _module_state(module)
    if not state:
        raise _rejected("The model has no parameters and no buffers: there is nothing to train.")
    require_finite(state)
    return ModelReport(
        format=_format_of(module),
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        num_tensors=len(state),
        stats=layer_statistics(module, input_shape),
    )


def inspect_preprocessing(path: Path) -> None:
    """Raises `Rejected` unless the file holds preprocessing that `load_preprocessing` accepts."""
    load_preprocessing(path)


def load_preprocessing(path: Path) -> Callable[[object], object]:
    """A TorchScript module, or transforms of allow-listed classes; a fresh object each time.

    Raises:
        Rejected: it is something else.
    """
    loaded = _load(path)
    if isinstance(loaded, nn.Module):
        return loaded
    if callable(loaded) and _is_transform(type(loaded)):
        return loaded
    raise _rejected(
        f"The file holds a {type(loaded).__name__}, not a preprocessing module.",
        "Send a TorchScript archive or torchvision transforms saved by torch.save.",
    )


def load_module(path: Path) -> nn.Module:
    """The model in eval mode on the CPU, a fresh object each time; its memory may map the file.

    Raises:
        Rejected: it is not a model; a tensor and a state dict are named as such.
    """
    loaded = _load(path)
    if isinstance(loaded, nn.Module):
        programs = torch.jit.ScriptModule | torch.fx.GraphModule
        if isinstance(loaded, programs) or type(loaded) in module_classes():
            return loaded.eval()
        raise _rejected(f"{type(loaded).__name__} is preprocessing, not a model.", _SEND_MODEL)
    if isinstance(loaded, Tensor):
        raise _rejected("The file holds a single tensor, not a model.", _SEND_MODEL)
    if isinstance(loaded, Mapping):
        raise _rejected(
            "The file holds a state dict (or another mapping), not a model: "
            "without the module the server does not know the architecture.",
            _SEND_MODEL,
        )
    raise _rejected(f"The file holds a {type(loaded).__name__}, not a model.", _SEND_MODEL)


def load_module_as(path: Path, structure_path: Path) -> nn.Module:
    """As `load_module`; where the file holds tensors alone, `structure_path`'s model with them.

    Raises:
        Rejected: neither; or the tensors are not those of that model.
    """
    container, state = load_update(path)
    if container not in _TENSORS_ALONE:
        return load_module(path)
    module = load_module(structure_path)
    _take_on_(module, state)
    return module


def load_state_dict(path: Path) -> StateDict:
    """Every parameter and buffer by name, in the file's order; see `load_update`."""
    return load_update(path)[1]


def load_update(path: Path) -> tuple[ModelFormat, StateDict]:
    """What an update's file is, and every parameter and buffer in it by name, in the file's order.

    Returns:
        Format; detached CPU tensors that may map the file: not to be written to, valid while it is
        open or unchanged.

    Raises:
        Rejected: the file holds no tensors by name.
    """
    skeleton = _skeleton(path)
    if skeleton is None:
        return _load_update(path)
    mapped = map_known(path, skeleton)
    if mapped is not None:
        return mapped
    found = _load_update(path)
    learn_layout(path, skeleton, *found)
    # TorchScript was copied into memory, which ends here.
    return map_known(path, skeleton) or found


def _load_update(path: Path) -> tuple[ModelFormat, StateDict]:
    loaded = _load(path, advice=_SEND_UPDATE)
    if isinstance(loaded, nn.Module):
        return _format_of(loaded), _module_state(loaded)
    if isinstance(loaded, Mapping):
        pickled = _container(path) is _Container.TORCH_SAVE
        container = ModelFormat.PICKLED_STATE_DICT if pickled else ModelFormat.SAFETENSORS
        return container, _plain_state(loaded)
    what = "a single tensor" if isinstance(loaded, Tensor) else f"a {type(loaded).__name__}"
    raise _rejected(f"The file holds {what}, not a model or its state dict.", _SEND_UPDATE)


def load_tensor(path: Path) -> Tensor:
    """The single tensor that `torch.save` put into the file, detached, on the CPU.

    Raises:
        Rejected: the file holds something else.
    """
    loaded = _load(path)
    if not isinstance(loaded, Tensor):
        raise _rejected(
            f"The file holds a {type(loaded).__name__}, not a tensor.",
            "Send a tensor saved by torch.save.",
        )
    return loaded.detach()


def write_tensor(tensor: Tensor, out_path: Path) -> None:
    """Write a file that `load_tensor` reads; the same tensor gives the same bytes."""
    _torch_save(tensor, out_path)


def store_like(store: BlobStore, base_path: Path, state: StateDict) -> BlobRef:
    """Put `base_path`'s model with other weights into the store: the bytes that `write_like` gives.

    From the second time that a model of the same making is written, the bytes go to the store as
    they are made, hashed on the way; the first time torch writes a file, which is learned from.

    Args:
        state: All of the base's tensors, by name, on the CPU; not modified.

    Raises:
        Rejected: the base is not a model, or the tensors are not its own.
        BlobError: the store is full or fails.
    """
    base = _skeleton(base_path)
    template = known_template(base) if base else None
    if template is not None and _fits(state, load_state_dict(base_path)):
        return store.put(template.chunks(state))
    with store.scratch_file() as path:
        write_like(base_path, state, path)
        if base is not None:
            load_state_dict(path)  # learns where its tensors are
            learn_template(base, path, state)
        return store.put_file(path, consume=True)


def _fits(state: StateDict, base: StateDict) -> bool:
    """Whether these are the tensors of that model, by name, shape and dtype."""
    return state.keys() == base.keys() and all(
        (state[name].shape, state[name].dtype) == (tensor.shape, tensor.dtype)
        for name, tensor in base.items()
    )


def write_like(base_path: Path, state: StateDict, out_path: Path) -> None:
    """Write `base_path`'s model with other weights, in the same container.

    The same base and weights give the same bytes, in any process with the same torch.

    Args:
        state: All of the base's tensors, by name; not modified.
        out_path: Created or overwritten; not synced.

    Raises:
        Rejected: the base is not a model, or the tensors are not its own.
        BlobStoreFull: there is no space for it.
    """
    module = load_module(base_path)
    _take_on_(module, state)
    if isinstance(module, torch.jit.ScriptModule):
        _jit_save(module, base_path, out_path)
    elif isinstance(module, torch.fx.GraphModule):
        with _fixed_name(out_path) as archive_path:
            write_exported_program(base_path, _module_state(module), archive_path)
    else:
        _torch_save(module, out_path)


def _take_on_(module: nn.Module, state: StateDict) -> None:
    """Raises `Rejected` unless these are all of the module's tensors."""
    try:
        module.load_state_dict(state)  # writes into pages of our own: the file is mapped privately
    except RuntimeError as error:
        raise Rejected(RejectionReason.INCOMPATIBLE, str(error)) from error


def _format_of(module: nn.Module) -> ModelFormat:
    match module:
        case torch.jit.ScriptModule():
            return ModelFormat.TORCHSCRIPT
        case torch.fx.GraphModule():
            return ModelFormat.EXPORTED_PROGRAM
        case _:
            return ModelFormat.PICKLED_MODULE


def _torch_save(value: object, out_path: Path) -> None:
    with out_path.open("wb") as file:
        torch.save(value, file)  # given a file and not a path, the archive's root has a fixed name


def _jit_save(module: torch.jit.ScriptModule, base_path: Path, out_path: Path) -> None:
    # Where torch.jit finds no space while it writes, it ends the process.
    require_room(out_path, base_path.stat().st_size)
    reader = torch._C.PyTorchFileReader(str(base_path))  # noqa: SLF001 - jit.load forgets extras
    extras = {
        name.removeprefix("extra/"): reader.get_record(name)
        for name in reader.get_all_records()
        if name.startswith("extra/")
    }
    with _fixed_name(out_path) as archive_path:
        torch.jit.save(module, str(archive_path), _extra_files=extras)


@contextmanager
def _fixed_name(out_path: Path) -> Iterator[Path]:
    """A path to write at that becomes `out_path` at the end.

    An archive's root is named after the file: saved under a fixed name, the bytes are fixed too.
    """
    with tempfile.TemporaryDirectory(dir=out_path.parent) as folder:
        fixed = Path(folder) / "archive.pt"
        yield fixed
        fixed.replace(out_path)


def _load(path: Path, *, advice: str = _SEND_MODEL) -> object:
    """The module, mapping or tensor in the file; sizes and contents already checked.

    Args:
        advice: What to send instead of a file that is none of these.
    """
    with _refused_if_unreadable(advice):
        match _container(path, advice):
            case _Container.TORCHSCRIPT:
                return _load_torchscript(path)
            case _Container.SAFETENSORS:
                return _load_safetensors(path)
            case _Container.TORCH_SAVE:
                return _load_pickled(path)
            case _Container.EXPORTED_PROGRAM:
                return _load_exported(path)


def _skeleton(path: Path) -> Skeleton | None:
    """Of a zip archive that torch wrote or a safetensors file; None: it is something else.

    Raises:
        Rejected: it is a zip archive with an absurd directory.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if _begins_as_safetensors(head, path.stat().st_size):
        return read_safetensors_skeleton(path)
    if not head.startswith(b"PK\3\4"):
        return None
    _require_small_directory(path)
    return read_skeleton(path)


def _begins_as_safetensors(head: bytes, size_bytes: int) -> bool:
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] < size_bytes


def _container(path: Path, advice: str = _SEND_MODEL) -> _Container:
    """What kind of file it is, by content; nothing in it is run.

    Raises:
        Rejected: it is none of the supported containers; says which ones are.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
    if not size_bytes:
        raise _rejected("The file is empty.", advice)
    # First: the length that it begins with may look like what the others begin with.
    if _begins_as_safetensors(head, size_bytes):
        return _Container.SAFETENSORS
    if head.startswith(b"PK"):
        return _zip_container(path, size_bytes, advice)
    if head.startswith(b"\x80"):
        raise _rejected(
            "The file is a bare pickle, which is not opened.",
            "Save with torch.save of PyTorch 1.6 or newer.",
        )
    raise _rejected("The file is not a model in any known format.", advice)


def _zip_container(path: Path, size_bytes: int, advice: str) -> _Container:
    records = _zip_records(path, size_bytes)
    if "constants.pkl" in records:
        return _Container.TORCHSCRIPT
    if "models/model.json" in records:
        return _Container.EXPORTED_PROGRAM
    if records & {"archive_format", "serialized_exported_program.json"}:
        raise _rejected(
            "The file is an archive of torch.export without a single exported program of a current "
            "torch version.",
            advice,
        )
    if "data.pkl" in records:
        return _Container.TORCH_SAVE
    raise _rejected("The file is a zip archive without a model.", advice)


def _zip_records(path: Path, size_bytes: int) -> set[str]:
    """Names of the archive's records without their root folder; their sizes are bounded.

    Raises:
        Rejected: a bomb, too many or too large records, or names that two readers see differently.
    """
    _require_small_directory(path)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if not entries:
        return set()
    tensors = sum("/data/" in entry.filename for entry in entries)
    _require_few_tensors(tensors)
    _require_bounded(sum(entry.file_size for entry in entries), size_bytes)
    for entry in entries:
        if entry.filename.endswith(".pkl") and entry.file_size > MAX_PICKLE_BYTES:
            raise _too_large(f"{entry.filename} alone takes {entry.file_size} bytes.")
        if "/data/" in entry.filename and entry.compress_type != zipfile.ZIP_STORED:
            raise _rejected("The archive's tensors are compressed.", "Save with torch.save.")
    names = {entry.filename.partition("/")[2] for entry in entries}
    # PyTorch has a zip reader of its own; what it sees must be what was just bounded.
    seen = torch._C.PyTorchFileReader(str(path)).get_all_records()  # noqa: SLF001
    if len(names) != len(entries) or set(seen) != names:
        raise _rejected("The archive is damaged.", "Save it again.")
    return names


def _require_small_directory(path: Path) -> None:
    """Bound a zip's directory before `zipfile` reads it into memory."""
    with path.open("rb") as file:
        tail_bytes = min(file.seek(0, 2), 2**16 + 22)
        file.seek(-tail_bytes, 2)
        tail = file.read()
    start = tail.rfind(_ZIP_END)
    if start < 0 or len(tail) - start < 22:
        raise _rejected("The archive is cut off.", "Upload it again.")
    directory_bytes = struct.unpack_from("<L", tail, start + 12)[0]
    # All ones says that the size is in a zip64 record, 56 + 20 bytes before the end.
    if directory_bytes == 0xFFFF_FFFF and start >= 76:
        directory_bytes = struct.unpack_from("<Q", tail, start - 76 + 40)[0]
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise _too_large(f"The archive's directory takes {directory_bytes} bytes.")


def _load_torchscript(path: Path) -> torch.jit.ScriptModule:
    if require_harmless_source(path):
        # Operators are known once they were imported.
        import compute.torchvision_guard  # noqa: F401
    module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")
    require_harmless_graphs(module)
    _require_plain_tensors(_module_state(module), path)
    return module


def _load_exported(path: Path) -> torch.fx.GraphModule:
    module = load_exported_program(path)
    _require_plain_tensors(_module_state(module), path)
    return module


def _load_safetensors(path: Path) -> StateDict:
    with safetensors.safe_open(path, framework="pt", device="cpu") as file:
        names = list(file.keys())
        _require_few_tensors(len(names))
        state = {name: file.get_tensor(name) for name in names}
        metadata = file.metadata() or {}
    _require_plain_tensors(state, path)
    return decoded(state, metadata)


def _load_pickled(path: Path) -> object:
    allowed, unknown = _listed_and_unlisted(path)
    if unknown:
        raise Rejected(
            RejectionReason.UNSAFE,
            f"The pickle wants {min(unknown)}, which is not an allowed class. Allowed are the "
            "layers of torch.nn and the transforms of torchvision; for a model with classes of "
            "your own send a TorchScript archive (torch.jit.script or torch.jit.trace, then "
            "torch.jit.save).",
        )
    # Mapped, so that no storage can reach beyond the file, and memory stays flat.
    loaded: object = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
    _require_plain_tensors(dict(_tensors_in(loaded, allowed)), path)
    if isinstance(loaded, nn.Module):
        loaded.eval()  # walks the whole tree, and so fails here for one that contains itself
    return loaded


def _listed_and_unlisted(path: Path) -> tuple[frozenset[type], list[str]]:
    """The classes that a pickle may name, and the names in it of anything else.

    torchvision is imported for the first that names it.
    """
    listed = module_classes()
    unlisted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    is_imported = "compute.allowed_transforms" in sys.modules
    if is_imported or any(name.startswith("torchvision.") for name in unlisted):
        from compute.allowed_transforms import transform_classes

        listed |= transform_classes()
        if not is_imported:
            unlisted = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    return listed, unlisted


def _is_transform(cls: type) -> bool:
    # What was loaded from torchvision was loaded after this import.
    if not cls.__module__.startswith("torchvision."):
        return False
    from compute.allowed_transforms import transform_classes

    return cls in transform_classes()


def _tensors_in(loaded: object, allowed: frozenset[type]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that can be reached from an unpickled object, each under some name.

    Raises:
        Rejected: an object is not what its class makes: functions among its attributes, hooks, or
            attributes that hide its methods.
    """
    pending: list[tuple[str, object]] = [("", loaded)]
    seen: set[int] = set()
    while pending:
        name, value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield name or "tensor", value
        elif isinstance(value, Mapping):
            pending += [(f"{name}.{key}".lstrip("."), item) for key, item in value.items()]
        elif isinstance(value, list | tuple | set):
            pending += [(f"{name}[{index}]", item) for index, item in enumerate(value)]
        elif type(value) in allowed:
            _require_unaltered(name, value)
            pending += [(f"{name}.{key}".lstrip("."), item) for key, item in vars(value).items()]
        elif callable(value) and value not in FUNCTIONS and not isinstance(value, weakref.ref):
            raise _altered(name, "holds a function")


def _require_unaltered(name: str, instance: object) -> None:
    attributes = vars(instance)
    if any(attributes.get(hooks) for hooks in _HOOKS):
        raise _altered(name, "has hooks")
    if attributes.get("_compiled_call_impl") is not None:
        raise _altered(name, "is compiled")
    for attribute in attributes:
        if callable(getattr(type(instance), attribute, None)):
            raise _altered(name, f"has a {attribute} of its own")


def _altered(name: str, what: str) -> Rejected:
    return Rejected(
        RejectionReason.UNSAFE,
        f"{name or 'The model'} {what}, which is not accepted in a pickle; send a TorchScript "
        "archive (torch.jit.save).",
    )


def _module_state(module: nn.Module) -> StateDict:
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def _plain_state(mapping: Mapping[object, object]) -> StateDict:
    state: StateDict = {}
    for name, value in mapping.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _rejected(
                f"The file's mapping holds a {type(value).__name__} under {str(name)[:80]!r}, "
                "not tensors by name.",
                _SEND_UPDATE,
            )
        state[name] = value.detach()
    if not state:
        raise _rejected("The state dict is empty.", _SEND_UPDATE)
    return state


def _require_plain_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Raises `Rejected` for tensors that are not dense CPU ones, and for absurd amounts."""
    _require_few_tensors(len(state))
    for name, tensor in state.items():
        if (
            type(tensor) not in {Tensor, nn.Parameter}
            or tensor.layout is not torch.strided
            or tensor.device.type != "cpu"
            or tensor.is_quantized
            # Their numbers are not those in memory.
            or tensor.is_neg()
            or tensor.is_conj()
        ):
            raise _rejected(f"{name} is not a plain dense tensor.", "Convert it before saving.")
    _require_bounded(sum(tensor.nbytes for tensor in state.values()), path.stat().st_size)


def _require_few_tensors(count: int) -> None:
    if count > MAX_TENSORS:
        raise _too_large(f"The file holds {count} tensors; at most {MAX_TENSORS} are accepted.")


def _require_bounded(content_bytes: int, size_bytes: int) -> None:
    if content_bytes > min(MAX_TENSOR_BYTES, MAX_EXPANSION * size_bytes + SLACK_BYTES):
        raise _too_large(
            f"A file of {size_bytes} bytes that unfolds to {content_bytes} bytes is not accepted."
        )


@contextmanager
def _refused_if_unreadable(advice: str) -> Iterator[None]:
    """Turn what readers raise on damaged files into `Rejected`.

    Other errors (a missing file, a full disk) are not the upload's fault and pass through.
    """
    try:
        yield
    except Rejected:
        raise
    except MemoryError as error:
        raise _too_large("Opening the file takes more memory than it may.") from error
    except _READ_ERRORS as error:
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise _rejected(f"The file cannot be read: {reason}", advice) from error


def _rejected(what: str, advice: str = "") -> Rejected:
    return Rejected(RejectionReason.NOT_A_MODEL, f"{what} {advice}".rstrip())


def _too_large(what: str) -> Rejected:
    return Rejected(RejectionReason.TOO_LARGE, what)
