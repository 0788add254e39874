"""Archives of a known skeleton are mapped and written without torch, to the same bytes."""

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from compute import archive_layouts
from compute.archive_layouts import (
    known_template,
    map_known,
    read_safetensors_skeleton,
    read_skeleton,
)
from compute.blobs import BlobStore
from compute.contract import ModelFormat, Rejected, TensorEncoding
from compute.encodings import METADATA_KEY, encoded
from compute.formats import load_module, load_state_dict, load_update, store_like, write_like
from tests.compute.models import stored, trained, written
from tests.model_files import CallsOnLoad, exported, pickled, tiny, tiny_file, torchscript

CONTAINERS: dict[str, tuple[Callable[[nn.Module], bytes], ModelFormat]] = {
    "torchscript": (torchscript, ModelFormat.TORCHSCRIPT),
    "pickled": (pickled, ModelFormat.PICKLED_MODULE),
    "state dict": (lambda module: pickled(module.state_dict()), ModelFormat.PICKLED_STATE_DICT),
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_layouts, "_layouts", archive_layouts._Known())
    monkeypatch.setattr(archive_layouts, "_templates", archive_layouts._Known())


def tied(_: int = 0) -> nn.Module:
    """Two names for one tensor, a view into another, a scalar, and nothing at all."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    module.register_buffer("empty", torch.zeros(0, 4))
    module.register_buffer("flag", torch.tensor(True))
    module.register_buffer("transposed", torch.arange(6.0).reshape(2, 3).t())
    return module.eval()


def skeleton_digest(path: Path) -> bytes:
    skeleton = read_skeleton(path)
    assert skeleton is not None
    return skeleton.digest


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("make", [trained, tied], ids=["plain", "tied"])
def test_the_second_of_a_kind_is_mapped_with_its_own_numbers(
    container: str, make: Callable[[int], nn.Module], tmp_path: Path
) -> None:
    as_file, kind = CONTAINERS[container]
    torch.manual_seed(1)
    first = written(tmp_path / "first", as_file(make(1)))
    torch.manual_seed(2)
    model = make(2)
    second = written(tmp_path / "second", as_file(model))
    skeleton = read_skeleton(second)
    assert skeleton is not None
    assert map_known(second, skeleton) is None

    load_update(first)

    mapped = map_known(second, skeleton)
    assert mapped is not None
    found_kind, state = mapped
    assert found_kind is kind
    expected = model.state_dict()
    assert list(state) == list(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert state[name].shape == tensor.shape
        assert torch.equal(state[name], tensor), name
    assert load_update(second)[1].keys() == expected.keys()


def test_a_mapped_archive_is_never_changed_by_its_reader(tmp_path: Path) -> None:
    content = tiny_file()
    path = written(tmp_path / "model", content)
    load_state_dict(path)
    for tensor in load_state_dict(path).values():
        tensor.zero_()
    assert path.read_bytes() == content


@pytest.mark.parametrize("container", ["torchscript", "pickled"])
def test_a_store_gets_the_bytes_that_torch_writes(
    container: str, store: BlobStore, tmp_path: Path
) -> None:
    key = stored(store, CONTAINERS[container][0](tiny())).digest
    with_template = []
    for seed in range(4):
        state = trained(seed).state_dict()
        with store.local_path(key) as base:
            skeleton = read_skeleton(base)
            assert skeleton is not None
            with_template.append(known_template(skeleton) is not None)
            blob = store_like(store, base, state)
            write_like(base, state, tmp_path / "by torch")
        assert b"".join(store.read(blob.digest)) == (tmp_path / "by torch").read_bytes()
        with store.local_path(blob.digest) as path:
            found = load_module(path).state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
        key = blob.digest
    assert with_template[-1]


def test_every_checksum_of_a_spliced_archive_is_right(store: BlobStore) -> None:
    key = stored(store, tiny_file()).digest
    for seed in range(3):
        with store.local_path(key) as base:
            key = store_like(store, base, trained(seed).state_dict()).digest
    with zipfile.ZipFile(io.BytesIO(b"".join(store.read(key)))) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("make", [tied, tiny], ids=["tied", "exported"])
def test_what_cannot_be_spliced_is_written_by_torch(
    make: Callable[[], nn.Module], store: BlobStore
) -> None:
    module = make()
    as_file = pickled if make is tied else lambda m: exported(m, torch.zeros(2, 3))
    key = stored(store, as_file(module)).digest
    for seed in range(3):
        state = {name: tensor + seed for name, tensor in module.state_dict().items()}
        if "flag" in state:
            state["flag"] = torch.tensor(False)
        with store.local_path(key) as base:
            key = store_like(store, base, state).digest
        with store.local_path(key) as path:
            found = load_state_dict(path)
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


def test_weights_of_another_model_are_refused_with_a_template_too(store: BlobStore) -> None:
    key = stored(store, pickled(tiny())).digest
    for seed in range(3):
        with store.local_path(key) as base:
            key = store_like(store, base, trained(seed).state_dict()).digest
    with store.local_path(key) as base, pytest.raises(Rejected):
        store_like(store, base, nn.Linear(2, 2).state_dict())


def test_a_changed_program_or_pickle_is_another_skeleton(tmp_path: Path) -> None:
    scripted = written(tmp_path / "one", tiny_file())
    other = written(tmp_path / "other", torchscript(nn.Sequential(*tiny(), nn.Tanh())))
    assert skeleton_digest(scripted) != skeleton_digest(other)

    path = written(tmp_path / "model", pickled(tiny()))
    frozen = tiny().requires_grad_(requires_grad=False)
    assert skeleton_digest(path) != skeleton_digest(written(tmp_path / "frozen", pickled(frozen)))


def test_what_is_refused_is_never_learned(tmp_path: Path) -> None:
    path = written(tmp_path / "evil", pickled({"a": torch.ones(2), "b": CallsOnLoad("x")}))
    for _ in range(2):
        with pytest.raises(Rejected):
            load_update(path)
    skeleton = read_skeleton(path)
    assert skeleton is not None
    assert map_known(path, skeleton) is None
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_truncated_archive_of_a_known_skeleton_is_refused(kept: float, tmp_path: Path) -> None:
    content = tiny_file()
    load_state_dict(written(tmp_path / "whole", content))
    with pytest.raises(Rejected):
        load_state_dict(written(tmp_path / "cut", content[: int(len(content) * kept)]))


def test_only_so_many_skeletons_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_layouts, "MAX_KNOWN", 2)
    known: archive_layouts._Known[str] = archive_layouts._Known()
    for digest in (b"a", b"b"):
        known.put(digest, digest.decode())
    known.get(b"a")
    known.put(b"c", "c")
    assert [known.get(digest) for digest in (b"a", b"b", b"c")] == ["a", None, "c"]


class Shifted(nn.Module):
    """Has a tensor that is no part of its state dict, and a record of its own in the archive."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.shift = torch.full((3,), shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.shift


def test_a_model_keeps_constants_that_are_not_in_its_state_dict(store: BlobStore) -> None:
    keys = [stored(store, torchscript(Shifted(shift))).digest for shift in (1.0, 2.0)]
    state = Shifted(0.0).state_dict()
    for _ in range(4):
        for place, shift in enumerate((1.0, 2.0)):
            with store.local_path(keys[place]) as base:
                keys[place] = store_like(store, base, state).digest
            with store.local_path(keys[place]) as path:
                found = load_module(path)(torch.zeros(1, 3))
            assert torch.equal(found, (state["layer.bias"] + shift).unsqueeze(0))


@pytest.mark.parametrize("container", ["torchscript", "state dict"])
def test_an_archive_that_readers_find_at_different_places_is_not_mapped(
    container: str, tmp_path: Path
) -> None:
    content = CONTAINERS[container][0](tiny())
    load_update(written(tmp_path / "known", content))
    assert read_skeleton(tmp_path / "known") is not None
    end, locator = len(content) - 22, len(content) - 42
    hidden = {
        "something in front": content[:64] + content,
        "something behind": content + b"PK\5\6" + bytes(18),
        "a comment": content[:-2] + b"\4\0more",
        "another place": content[: end + 16] + b"\0\0\0\0" + content[end + 20 :],
        "another zip64 record": content[: locator + 8] + bytes(8) + content[locator + 16 :],
    }
    for name, changed in hidden.items():
        assert read_skeleton(written(tmp_path / "changed", changed)) is None, name


def safetensors_file(tensors: dict[str, torch.Tensor], **metadata: str) -> bytes:
    return save(tensors, metadata or None)


def numbers(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "z": torch.randn(3, 4, generator=generator),
        "half": torch.randn(5, generator=generator).half(),
        "flag": torch.tensor(seed % 2 == 0),
        "scalar": torch.tensor(seed),
        "empty": torch.zeros(0, 4),
        "double": torch.randn(2, 2, generator=generator, dtype=torch.float64),
    }


def test_the_second_safetensors_file_of_a_header_is_mapped_with_its_own_numbers(
    tmp_path: Path,
) -> None:
    contents = [safetensors_file(numbers(seed)) for seed in range(3)]
    first, *others = [
        written(tmp_path / str(seed), content) for seed, content in enumerate(contents)
    ]
    read = load_update(first)
    for seed, path in enumerate([first, *others]):
        header = read_safetensors_skeleton(path)
        assert header is not None
        mapped = map_known(path, header)
        assert mapped is not None
        found_format, state = mapped
        assert found_format is ModelFormat.SAFETENSORS
        assert list(state) == list(read[1])
        for name, tensor in numbers(seed).items():
            assert state[name].dtype == tensor.dtype
            assert torch.equal(state[name], tensor)
            state[name].zero_()  # of a page of our own
        assert path.read_bytes() == contents[seed]


def test_a_safetensors_file_cut_off_or_lengthened_is_refused_though_its_header_is_known(
    tmp_path: Path,
) -> None:
    content = safetensors_file(numbers(0))
    load_update(written(tmp_path / "known", content))
    for changed in (content[:-1], content + b"\0", content[:40], content[:9]):
        with pytest.raises(Rejected):
            load_update(written(tmp_path / "changed", changed))


@pytest.mark.parametrize(
    "header",
    [
        b'{"w":{"x":' + b"[" * 5000 + b"]" * 5000 + b"}}",
        b'{"\xff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}}',
        b'{"w":7}',
    ],
    ids=["deep", "not UTF-8", "one offset", "backwards", "a number"],
)
def test_a_header_made_to_confuse_is_refused(header: bytes, tmp_path: Path) -> None:
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    with pytest.raises(Rejected):
        load_update(written(tmp_path / "x", content))


def test_one_that_is_not_finite_does_not_keep_others_from_being_mapped(tmp_path: Path) -> None:
    for name, value in (("first", math.nan), ("second", -0.0)):
        path = written(tmp_path / name, safetensors_file({"w": torch.tensor([value, 1.0])}))
        load_update(path)
        skeleton = read_safetensors_skeleton(path)
        assert skeleton is not None
        assert map_known(path, skeleton) is not None


@pytest.mark.parametrize("encoding", list(TensorEncoding))
def test_encoded_tensors_are_decoded_every_time(encoding: TensorEncoding, tmp_path: Path) -> None:
    for seed in range(3):
        state = {"w": torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))}
        tensors, table = encoded(state, encoding)
        path = written(tmp_path / str(seed), safetensors_file(tensors, **{METADATA_KEY: table}))
        found = load_state_dict(path)
        assert list(found) == ["w"]
        assert torch.allclose(found["w"], state["w"], atol=0.03)
        header = read_safetensors_skeleton(path)
        assert header is not None
        assert map_known(path, header) is None


def test_metadata_of_any_kind_is_no_tensor(tmp_path: Path) -> None:
    tensors = {"w": torch.ones(2)}
    for note in ("a", "b"):
        content = safetensors_file(tensors, data_offsets=note)
        assert list(load_state_dict(written(tmp_path / note, content))) == ["w"]


def test_an_unaligned_safetensors_file_is_read_all_the_same(tmp_path: Path) -> None:
    header = (
        b'{"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},'
        b'"w":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}}'
    )
    for value in (1.0, 2.0):
        numbers_after = b"\1\2\3" + struct.pack("<2f", value, -value)
        content = struct.pack("<Q", len(header)) + header + numbers_after
        assert load_state_dict(written(tmp_path / "x", content))["w"].tolist() == [value, -value]
