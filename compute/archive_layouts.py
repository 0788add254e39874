"""Where the tensors of an archive lie, learned once for all archives of the same skeleton.

The *skeleton* of an archive that torch wrote is everything but its tensors' numbers: the names and
sizes of its records and the contents of those that hold no tensor (the pickle, the program). That
of a safetensors file is its header and its length. When one archive went through every check and
was loaded, another one with the same skeleton means the same thing with other numbers: its tensors
can be mapped where they lie, and nothing in it is unpickled, parsed or copied. Likewise an archive
that torch wrote from some weights is a *template* for other weights: only numbers and checksums
differ.

What is learned is compared with what was loaded from the same file, bit by bit, before it is used;
what cannot be learned (tensors that are no whole records, other containers) stays with torch.
"""

import hashlib
import pickle
import struct
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, Self, TypeVar

import msgspec
import torch
from torch import Tensor

from compute.contract import ModelFormat
from compute.state_dicts import StateDict

CHUNK_BYTES = 4 * 1024**2
# Archives whose skeleton is larger than this are not worth it, and not kept in memory.
MAX_SKELETON_BYTES = 8 * 1024**2
MAX_KNOWN = 64

_ENCRYPTED, _HAS_DESCRIPTOR = 0x1, 0x8
_LOCAL_HEADER, _DESCRIPTOR, _DIRECTORY_ENTRY = b"PK\x03\x04", b"PK\x07\x08", b"PK\x01\x02"
_SERIALIZATION_ID = ".data/serialization_id"
_CANNOT_LEARN = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
)

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Record:
    """A tensor's bytes in the file."""

    offset: int
    size: int


@dataclass(frozen=True)
class Skeleton:
    """All that two archives have in common when only their tensors' numbers differ.

    Attributes:
        digest: SHA-256 of it.
        records: Name without the root folder to place, of each record of tensors.
    """

    digest: bytes
    records: Mapping[str, _Record]


class _HeaderEntry(msgspec.Struct):
    """What a safetensors header says of a tensor, as far as it is wanted."""

    data_offsets: tuple[int, int]


@dataclass(frozen=True)
class _Place:
    """A tensor within a record; sizes, strides and start in elements."""

    record: str
    dtype: torch.dtype
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """What an archive of some skeleton is, and where its tensors lie, in the order of their names.

    Attributes:
        places: Of every tensor, by name.
    """

    format: ModelFormat
    places: Mapping[str, _Place]


class _Known(Generic[_Value]):
    """The last few things learned, by digest of a skeleton; None: it cannot be learned."""

    def __init__(self) -> None:
        self._values: OrderedDict[bytes, _Value | None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._values

    def get(self, digest: bytes) -> _Value | None:
        with self._lock:
            if digest in self._values:
                self._values.move_to_end(digest)
            return self._values.get(digest)

    def put(self, digest: bytes, value: _Value | None) -> None:
        with self._lock:
            self._values[digest] = value
            self._values.move_to_end(digest)
            while len(self._values) > MAX_KNOWN:
                self._values.popitem(last=False)


_layouts: _Known[Layout] = _Known()
_templates: _Known["Template"] = _Known()


def read_skeleton(path: Path) -> Skeleton | None:
    """The archive's skeleton; None when the file is no zip archive, or none that can be mapped.

    Args:
        path: A file whose zip directory was found to be small enough to be read.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return _skeleton(file, archive)
    except _CANNOT_LEARN:
        return None  # whoever loads it says what is wrong with it


def read_safetensors_skeleton(path: Path) -> Skeleton | None:
    """The file's skeleton; None when it cannot be mapped by it.

    Args:
        path: A file that was found to begin as safetensors does.
    """
    try:
        with path.open("rb") as file:
            length = file.read(8)
            begin = 8 + int.from_bytes(length, "little")
            if begin > MAX_SKELETON_BYTES:
                return None
            header = _read_at(file, 8, begin - 8)
            size_bytes = file.seek(0, 2)
        entries = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        digest = hashlib.sha256(length + header + b"%d" % size_bytes).digest()
        return Skeleton(digest, {name: _record(begin, raw) for name, raw in entries.items()})
    except _CANNOT_LEARN:
        return None  # whoever loads it says what is wrong with it


def _record(begin: int, entry: msgspec.Raw) -> _Record:
    start, stop = msgspec.json.decode(entry, type=_HeaderEntry).data_offsets
    return _Record(begin + start, stop - start)


def map_known(path: Path, skeleton: Skeleton) -> tuple[ModelFormat, StateDict] | None:
    """What `learn_layout` was told of an archive of this skeleton, with this file's numbers.

    Returns:
        Format, and tensors that map the file privately; None: not known.
    """
    layout = _layouts.get(skeleton.digest)
    if layout is None:
        return None
    try:
        return layout.format, _mapped(path, skeleton, layout)
    except _CANNOT_LEARN:
        return None


def learn_layout(
    path: Path, skeleton: Skeleton, model_format: ModelFormat, state: StateDict
) -> None:
    """Remember where the tensors of archives like this one lie.

    Args:
        path: An archive that passed every check.
        skeleton: Its own.
        state: What torch loaded from it.
    """
    if skeleton.digest in _layouts:
        return
    layout: Layout | None = None
    if model_format is not ModelFormat.EXPORTED_PROGRAM:
        try:
            places = (
                _header_places(skeleton, state)
                if model_format is ModelFormat.SAFETENSORS
                else _pickled_places(path, skeleton, state)
            )
            layout = Layout(model_format, places)
            mapped = _mapped(path, skeleton, layout)
            if not all(_same_bits(mapped[name], tensor) for name, tensor in state.items()):
                layout = None
        except _CANNOT_LEARN:
            layout = None
    _layouts.put(skeleton.digest, layout)


def known_template(base: Skeleton) -> "Template | None":
    """How torch writes the model of an archive of this skeleton; None: not known."""
    return _templates.get(base.digest)


def learn_template(base: Skeleton, path: Path, state: StateDict) -> None:
    """Remember how torch writes the model of an archive of this skeleton.

    Args:
        base: Skeleton of the archive that gave the module.
        path: What torch wrote of it with the tensors of `state`; known to `map_known`.
    """
    if base.digest in _templates:
        return
    template: Template | None = None
    skeleton = read_skeleton(path)
    layout = _layouts.get(skeleton.digest) if skeleton else None
    if skeleton is not None and layout is not None:
        try:
            template = Template(path, skeleton, layout)
            if not template.gives(path, state):
                template = None
        except _CANNOT_LEARN:
            template = None
    _templates.put(base.digest, template)


class Template:
    """An archive as torch wrote it, in pieces: fixed bytes, tensors, and checksums of these."""

    def __init__(self, path: Path, skeleton: Skeleton, layout: Layout) -> None:
        names = _names_of_whole_records(skeleton, layout)
        if skeleton.records.keys() != names.keys():
            # Constants of one model would be written into another that only differs in these.
            raise ValueError("A record holds something else than a tensor of the state dict.")
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            directory_offset = archive.start_dir
            reader = _FixedBytes(file)
            self._checksums = {entry.filename: entry.CRC for entry in entries}
            self._parts: list[bytes | _Tensor | _Checksum | _Fingerprint] = []
            for entry in sorted(entries, key=lambda entry: entry.header_offset):
                key = entry.filename.partition("/")[2]
                varies = key in names or key == _SERIALIZATION_ID
                if not varies:
                    continue
                offset = _data_offset(file, entry)
                if not entry.flag_bits & _HAS_DESCRIPTOR:
                    raise ValueError("The checksum comes before the tensor.")
                if key in names:
                    self._parts += [reader.up_to(offset), _Tensor(entry.filename, names[key])]
                    reader.skip(entry.file_size)
                else:
                    # The first half is a hash of the records' names.
                    fixed = reader.up_to(offset + 20)
                    self._parts += [fixed, _Fingerprint(entry.filename, zlib.crc32(fixed[-20:]))]
                    reader.skip(20)
                descriptor = reader.up_to(offset + entry.file_size + len(_DESCRIPTOR))
                if descriptor != _DESCRIPTOR:
                    raise ValueError("There is no checksum where it belongs.")
                self._parts += [descriptor, _Checksum(entry.filename)]
                reader.skip(4)
            for name, offset in _directory(file, directory_offset, len(entries)):
                key = name.partition("/")[2]
                if key in names or key == _SERIALIZATION_ID:
                    self._parts += [reader.up_to(offset + 16), _Checksum(name)]
                    reader.skip(4)
            self._parts.append(reader.to_the_end())
        self._in_order = [
            entry.filename
            for entry in sorted(entries, key=lambda entry: entry.header_offset)
            if entry.filename.partition("/")[2] != _SERIALIZATION_ID
        ]

    def chunks(self, state: StateDict) -> Iterator[memoryview]:
        """The archive of these tensors, at most `CHUNK_BYTES` at a time, without a copy of them.

        Args:
            state: All tensors by name, on the CPU, with the model's shapes and dtypes.
        """
        checksums = dict(self._checksums)
        for part in self._parts:
            if isinstance(part, _Tensor):
                checksum = 0
                for chunk in _byte_chunks(state[part.name]):
                    checksum = zlib.crc32(chunk, checksum)
                    yield chunk
                checksums[part.record] = checksum
            elif isinstance(part, _Fingerprint):
                digits = f"{_combined(checksums[name] for name in self._in_order):020d}".encode()
                checksums[part.record] = zlib.crc32(digits, part.checksum_before)
                yield memoryview(digits)
            elif isinstance(part, _Checksum):
                yield memoryview(struct.pack("<L", checksums[part.record]))
            elif part:
                yield memoryview(part)

    def gives(self, path: Path, state: StateDict) -> bool:
        """Whether `chunks` are the bytes of this file."""
        with path.open("rb") as file:
            same = all(file.read(len(chunk)) == chunk for chunk in self.chunks(state))
            return same and not file.read(1)


@dataclass(frozen=True)
class _Tensor:
    record: str
    name: str


@dataclass(frozen=True)
class _Checksum:
    record: str


@dataclass(frozen=True)
class _Fingerprint:
    """torch's combined checksum of all records: the second half of a record of 40 digits."""

    record: str
    checksum_before: int


class _FixedBytes:
    """Reads what does not vary, from where it last stopped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._total = 0

    def up_to(self, offset: int) -> bytes:
        if offset < self._position:
            raise ValueError("Records overlap.")
        self._total += offset - self._position
        if self._total > MAX_SKELETON_BYTES:
            raise ValueError("The archive is mostly not tensors.")
        content = _read_at(self._file, self._position, offset - self._position)
        self._position = offset
        return content

    def skip(self, size: int) -> None:
        self._position += size

    def to_the_end(self) -> bytes:
        return self.up_to(self._file.seek(0, 2))


def _skeleton(file: BinaryIO, archive: zipfile.ZipFile) -> Skeleton | None:
    size_bytes = file.seek(0, 2)
    sha256 = hashlib.sha256()
    records: dict[str, _Record] = {}
    fixed_bytes = 0
    entries = archive.infolist()
    names = {entry.filename.partition("/")[2] for entry in entries}
    if len(names) < len(entries) or not _has_one_directory(file, archive, size_bytes):
        return None
    for entry in entries:
        name = entry.filename.partition("/")[2]
        is_tensor = name.startswith("data/") and entry.compress_type == zipfile.ZIP_STORED
        sha256.update(
            repr((
                entry.filename, entry.file_size, entry.compress_size, entry.compress_type,
                entry.flag_bits, is_tensor,
            )).encode()
        )  # fmt: skip
        if entry.flag_bits & _ENCRYPTED or not 0 <= entry.header_offset < size_bytes:
            return None
        if is_tensor:
            offset = _data_offset(file, entry)
            if entry.compress_size != entry.file_size or offset + entry.file_size > size_bytes:
                return None
            records[name] = _Record(offset, entry.file_size)
        elif name != _SERIALIZATION_ID:
            fixed_bytes += entry.file_size
            if fixed_bytes > MAX_SKELETON_BYTES:
                return None
            sha256.update(archive.read(entry))
    return Skeleton(sha256.digest(), records)


def _has_one_directory(file: BinaryIO, archive: zipfile.ZipFile, size_bytes: int) -> bool:
    """Whether torch finds the directory that `zipfile` found: both read it at the same place.

    They disagree on archives with something in front, and on what a zip64 record may say.
    """
    count, start = len(archive.infolist()), archive.start_dir
    end = _read_at(file, size_bytes - 22, 22)
    signature, _, _, here, total, length, offset, comment = struct.unpack("<4sHHHHLLH", end)
    if signature != b"PK\5\6" or comment:
        return False
    locator = _read_at(file, size_bytes - 42, 20) if size_bytes >= 42 else b""
    if locator[:4] != b"PK\6\7":
        return bool((here, total, offset, start + length) == (count, count, start, size_bytes - 22))
    (wide_at,) = struct.unpack_from("<Q", locator, 8)
    if wide_at != size_bytes - 98:
        return False
    wide = struct.unpack("<4s20xQQQQ", _read_at(file, wide_at, 56))
    narrow_fits = all(
        narrow in {exact, unknown}
        for narrow, exact, unknown in (
            (here, count, 0xFFFF),
            (total, count, 0xFFFF),
            (length, wide_at - start, 0xFFFFFFFF),
            (offset, start, 0xFFFFFFFF),
        )
    )
    return narrow_fits and wide == (b"PK\6\6", count, count, wide_at - start, start)


def _data_offset(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    header = _read_at(file, entry.header_offset, 30)
    if header[:4] != _LOCAL_HEADER:
        raise ValueError("There is no record where the directory says.")
    name_bytes, extra_bytes = struct.unpack_from("<HH", header, 26)
    return int(entry.header_offset + len(header) + name_bytes + extra_bytes)


def _directory(file: BinaryIO, offset: int, count: int) -> Iterator[tuple[str, int]]:
    """Name and offset of each entry of the archive's directory."""
    for _ in range(count):
        entry = _read_at(file, offset, 46)
        if entry[:4] != _DIRECTORY_ENTRY:
            raise ValueError("The directory is damaged.")
        lengths = struct.unpack_from("<HHH", entry, 28)
        yield _read_at(file, offset + 46, lengths[0]).decode(), offset
        offset += len(entry) + sum(lengths)


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    content = file.read(size)
    if len(content) != size:
        raise EOFError("The archive is cut off.")
    return content


def _mapped(path: Path, skeleton: Skeleton, layout: Layout) -> StateDict:
    file = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=path.stat().st_size)
    state: StateDict = {}
    for name, place in layout.places.items():
        record = skeleton.records[place.record]
        if record.offset % place.dtype.itemsize:
            raise ValueError("A tensor is not aligned.")
        storage = file[record.offset : record.offset + record.size]
        state[name] = torch.empty(0, dtype=place.dtype).set_(
            storage, place.start, place.shape, place.strides
        )
    return state


class _Inert(dict[object, object]):
    """Stands for whatever a pickle makes; keeps what it is given and does nothing."""

    def __new__(cls, *_arguments: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_arguments: object) -> None:
        super().__init__()
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def child(self, name: str) -> object:
        """The attribute, submodule, parameter or buffer of that name."""
        if not isinstance(self.state, dict):
            raise KeyError(name)
        for group in ("_parameters", "_buffers", "_modules"):
            held = self.state.get(group)
            if isinstance(held, dict) and name in held:
                return held[name]
        return self.state[name]


@dataclass(frozen=True)
class _Pickled:
    """A tensor by what its pickle says."""

    key: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _PlaceReader(pickle.Unpickler):
    """Reads where tensors lie out of a pickle; looks up and calls nothing that is not here."""

    def find_class(self, module: str, name: str) -> object:
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _pickled_tensor
            case "torch._utils", "_rebuild_parameter":
                return _pickled_parameter
            case _:
                return _Inert

    def persistent_load(self, pid: tuple[object, ...]) -> str:
        kind, _, key, *_ = pid
        if kind != "storage":
            raise ValueError("The pickle keeps more than storages aside.")
        return str(key)


def _pickled_tensor(key: str, start: int, shape: object, strides: object, *_: object) -> _Pickled:
    return _Pickled(key, start, _integers(shape), _integers(strides))


def _pickled_parameter(tensor: _Pickled, *_: object) -> _Pickled:
    return tensor


def _integers(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
        raise TypeError("A shape is not made of integers.")
    return value


def _header_places(skeleton: Skeleton, state: StateDict) -> dict[str, _Place]:
    for name, tensor in state.items():
        # Otherwise it stands for what was decoded from it.
        if skeleton.records[name].size != tensor.nbytes:
            raise ValueError("A tensor is not what the header says.")
    return {
        name: _Place(name, tensor.dtype, 0, tuple(tensor.shape), tensor.stride())
        for name, tensor in state.items()
    }


def _pickled_places(path: Path, skeleton: Skeleton, state: StateDict) -> dict[str, _Place]:
    with zipfile.ZipFile(path) as archive:
        (entry,) = [
            entry for entry in archive.infolist() if entry.filename.partition("/")[2] == "data.pkl"
        ]
        with archive.open(entry) as file:
            root = _PlaceReader(file).load()
    places = {}
    for name, tensor in state.items():
        found = _find(root, name)
        record = f"data/{found.key}"
        if (found.shape, found.strides) != (tuple(tensor.shape), tensor.stride()):
            raise ValueError("A tensor is not what the pickle says.")
        if skeleton.records[record].size != tensor.untyped_storage().nbytes():
            raise ValueError("A storage is not what the pickle says.")
        places[name] = _Place(record, tensor.dtype, found.start, found.shape, found.strides)
    return places


def _find(root: object, name: str) -> _Pickled:
    found = root
    if isinstance(root, dict) and name in root:
        found = root[name]
    else:
        for part in name.split("."):
            if not isinstance(found, _Inert):
                raise KeyError(name)
            found = found.child(part)
    if not isinstance(found, _Pickled):
        raise KeyError(name)
    return found


def _names_of_whole_records(skeleton: Skeleton, layout: Layout) -> dict[str, str]:
    """Record to name of the one tensor that fills it.

    Raises:
        ValueError: a tensor fills no record, or shares it.
    """
    names: dict[str, str] = {}
    for name, place in layout.places.items():
        filled = torch.Size(place.shape).numel() * place.dtype.itemsize
        contiguous = torch.empty(place.shape, device="meta").stride() == place.strides
        whole = place.start == 0 and filled == skeleton.records[place.record].size
        if place.record in names or not (whole and contiguous):
            raise ValueError("A tensor is not a record of its own.")
        names[place.record] = name
    return names


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Also of what is no number, which equals nothing."""
    left, right = (tensor.detach().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(left, right)


def _byte_chunks(tensor: Tensor) -> Iterator[memoryview]:
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.numel():
        # As bytes: numpy has not all of torch's dtypes.
        content = flat.view(torch.uint8).numpy().data
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]


def _combined(checksums: Iterator[int]) -> int:
    """As PyTorchStreamWriter combines checksums, by `c10::hash_combine`."""
    combined = 0
    for checksum in checksums:
        mixed = checksum + 0x9E3779B9 + (combined << 6) + (combined >> 2)
        combined ^= mixed & 0xFFFF_FFFF_FFFF_FFFF
    return combined
