"""Which files are taken, which are refused and why; nothing refused has run."""

import io
import os
import pickle
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from compute.allowed_transforms import transforms_v1 as transforms
from compute.allowed_transforms import transforms_v2
from compute.contract import ModelFormat, Rejected, RejectionReason
from compute.formats import (
    MAX_TENSORS,
    inspect_model,
    load_module,
    load_preprocessing,
    load_state_dict,
    load_tensor,
    load_update,
    write_like,
    write_tensor,
)
from tests.compute.models import written
from tests.model_files import (
    CallsOnLoad,
    Unlisted,
    as_client_loads,
    drifted,
    pickled,
    tiny,
    tiny_file,
    torchscript,
)

CONTAINERS: dict[str, Callable[[nn.Module], bytes]] = {
    "torchscript": torchscript,
    "pickled": pickled,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upload"


def rejection(load: Callable[[Path], object], path: Path) -> Rejected:
    with pytest.raises(Rejected) as caught:
        load(path)
    return caught.value


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_model_is_inspected(container: str, path: Path) -> None:
    report = inspect_model(written(path, CONTAINERS[container](tiny())), [None, 3])
    assert report.num_parameters == 66
    assert report.num_tensors == 9
    assert report.stats is not None
    assert report.stats["input_size"] == [[1, 3]]
    assert report.stats["total_params"] == 66


def test_statistics_have_the_fields_that_clients_know(path: Path) -> None:
    stats = inspect_model(written(path, pickled(tiny())), [None, 3]).stats
    assert stats is not None
    layers = stats.pop("summary_list")
    assert set(stats) == {
        "input_size",
        "total_input",
        "total_mult_adds",
        "total_output_bytes",
        "total_param_bytes",
        "total_params",
        "trainable_params",
    }
    assert isinstance(layers, list)
    assert [layer["class_name"] for layer in layers] == [
        "Sequential",
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert layers[1]["output_size"] == [1, 8]


@pytest.mark.parametrize("shape", [None, [], [None, 7], [2**20, 2**20]])
def test_statistics_that_cannot_be_computed_do_not_reject_the_model(
    shape: list[int | None] | None, path: Path
) -> None:
    assert inspect_model(written(path, pickled(tiny())), shape).stats is None


def test_a_model_that_starts_with_an_embedding_has_statistics(path: Path) -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    assert inspect_model(written(path, pickled(model)), [None, 3]).stats is not None


@pytest.mark.parametrize(
    "model",
    [
        nn.LSTM(3, 4, 2),
        nn.GRU(3, 4),
        nn.MultiheadAttention(8, 2),
        nn.TransformerEncoderLayer(8, 2, activation="gelu", batch_first=True),
        nn.Conv2d(1, 2, 3),
        nn.ParameterList([torch.ones(2)]),
        nn.ModuleDict({"one": nn.Linear(2, 2)}),
        nn.Linear(2, 2).to(torch.bfloat16),
    ],
    ids=lambda model: type(model).__name__,
)
def test_layers_of_torch_are_taken_from_a_pickle(model: nn.Module, path: Path) -> None:
    state = load_state_dict(written(path, pickled(model)))
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


def test_a_pickle_that_calls_something_is_refused_and_nothing_is_called(path: Path) -> None:
    trap = path.with_name("trap")
    for content in (CallsOnLoad(str(trap)), {"weight": CallsOnLoad(str(trap))}):
        written(path, pickled(content))
        for load in (inspect_model, load_state_dict, load_preprocessing, load_tensor):
            refused = rejection(load, path)
            assert refused.reason is RejectionReason.UNSAFE
            assert "open, which is not an allowed class" in refused.detail
    assert not trap.exists()


def test_a_class_that_is_not_allowed_is_named(path: Path) -> None:
    refused = rejection(inspect_model, written(path, pickled(Unlisted())))
    assert "tests.model_files.Unlisted" in refused.detail
    assert "TorchScript" in refused.detail


@pytest.mark.parametrize(
    "harmful",
    [
        transforms.Lambda(os.getcwd),
        transforms_v2.Lambda(os.getcwd),
        nn.TripletMarginWithDistanceLoss(distance_function=nn.PairwiseDistance()),
    ],
    ids=lambda instance: f"{type(instance).__module__}.{type(instance).__name__}",
)
def test_classes_that_call_what_they_are_given_are_refused(harmful: object, path: Path) -> None:
    refused = rejection(load_preprocessing, written(path, pickled(harmful)))
    assert refused.reason is RejectionReason.UNSAFE


def with_forward_of_its_own() -> nn.Module:
    model = nn.Linear(2, 2)
    model.__dict__["forward"] = nn.Linear
    return model


def with_a_hook() -> nn.Module:
    model = nn.Linear(2, 2)
    model._forward_hooks[0] = nn.Linear
    return model


def with_a_compiled_call() -> nn.Module:
    model = nn.Linear(2, 2)
    model.__dict__["call_me"] = nn.Linear
    return nn.Sequential(model)


@pytest.mark.parametrize("altered", [with_forward_of_its_own, with_a_hook, with_a_compiled_call])
def test_an_allowed_class_with_altered_behaviour_is_refused(
    altered: Callable[[], nn.Module], path: Path
) -> None:
    refused = rejection(inspect_model, written(path, pickled(altered())))
    assert refused.reason is RejectionReason.UNSAFE


def test_a_pickle_cannot_change_an_enumeration_of_this_process(path: Path) -> None:
    class Changes:
        def __reduce__(self) -> tuple[object, ...]:
            mode = transforms.InterpolationMode
            return mode, ("bilinear",), {"_value_": "changed"}

    rejection(load_preprocessing, written(path, pickled([Changes()])))
    assert transforms.InterpolationMode.BILINEAR.value == "bilinear"


class Writes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "trap")
        return x


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file("/etc/hostname", False, 2, dtype=torch.uint8)


class ReadsDeepInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), Reads())

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return self.inner(x)
        return x


class RunsOnLoad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return torch.ones(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.training = state[1]


@pytest.mark.parametrize("model", [Writes, Reads, ReadsDeepInside, RunsOnLoad])
def test_a_torchscript_program_that_reaches_beyond_tensors_is_refused(
    model: type[nn.Module], path: Path
) -> None:
    refused = rejection(inspect_model, written(path, torchscript(model())))
    assert refused.reason is RejectionReason.UNSAFE


class HookReads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_forward_hook(reading_hook)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def reading_hook(self: HookReads, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return output + torch.from_file("/etc/hostname", False, 2, dtype=torch.uint8)


@pytest.mark.parametrize("model", [Reads, ReadsDeepInside, HookReads])
@pytest.mark.parametrize(
    "call",
    [
        b'getattr(torch, "from_file")(',
        b'getattr(torch, "from_" "file")(',
        b'getattr(ops.aten, "from_file")(',
        b"(torch).from_file(",
    ],
)
def test_a_call_that_hides_from_the_search_of_the_source_is_found_in_the_graph(
    model: type[nn.Module], call: bytes, path: Path
) -> None:
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torchscript(model()))) as archive,
        zipfile.ZipFile(content, "w") as changed,
    ):
        for entry in archive.infolist():
            record = archive.read(entry)
            if entry.filename.endswith(".py"):
                record = record.replace(b"torch.from_file(", call)
            changed.writestr(entry.filename, record)
    written(path, content.getvalue())
    torch.jit.load(str(path))  # PyTorch itself takes it
    assert "aten::from_file" in rejection(inspect_model, path).detail


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not a model in any known format"),
        (pickle.dumps({"a": 1}), "bare pickle"),
        (b"PK\x05\x06" + bytes(18), "without a model"),
        (b"PK\x03\x04 and then nothing of the kind", "cut off"),
        (pickled(torch.ones(3)), "a single tensor"),
        (pickled(tiny().state_dict()), "a state dict"),
        (pickled(5), "a int"),
        (pickled(nn.ReLU()), "nothing to train"),
        (pickled(transforms_v2.Normalize([0.5], [0.5])), "preprocessing, not a model"),
        (safetensors.torch.save({"a": torch.ones(2)}), "a state dict"),
    ],
)
def test_what_is_no_model_is_refused_with_its_own_sentence(
    content: bytes, says: str, path: Path
) -> None:
    refused = rejection(inspect_model, written(path, content))
    assert refused.reason is RejectionReason.NOT_A_MODEL
    assert says in refused.detail


def test_the_old_format_of_torch_save_is_refused_with_advice(path: Path) -> None:
    torch.save(tiny(), path, _use_new_zipfile_serialization=False)
    assert "torch.save of PyTorch 1.6" in rejection(inspect_model, path).detail


def test_an_exported_program_is_recognised(path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.ones(1, 3),))
    file = io.BytesIO()
    torch.export.save(program, file)
    report = inspect_model(written(path, file.getvalue()))
    assert report.format is ModelFormat.EXPORTED_PROGRAM


@pytest.mark.parametrize("content", [b"", b"hello, this is text", b"PK\x05\x06" + bytes(18)])
def test_who_sends_something_else_as_an_update_is_told_what_an_update_may_be(
    content: bytes, path: Path
) -> None:
    assert "safetensors" in rejection(load_state_dict, written(path, content)).detail


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_archive_is_refused(container: str, kept: float, path: Path) -> None:
    content = CONTAINERS[container](tiny())
    written(path, content[: int(len(content) * kept)])
    assert rejection(load_state_dict, path).reason is RejectionReason.NOT_A_MODEL


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_flipped_byte_is_refused_or_harmless(container: str, path: Path) -> None:
    content = CONTAINERS[container](tiny())
    for position in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        written(path, bytes(damaged))
        try:
            load_state_dict(path)
        except Rejected:
            continue


def archive(path: Path, records: dict[str, bytes], *, compressed: bool = True) -> Path:
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in records.items():
            file.writestr(f"archive/{name}", content)
    return path


def test_a_zip_bomb_is_refused_before_it_unfolds(path: Path) -> None:
    archive(path, {"data.pkl": bytes(10), "padding": bytes(300 * 1024**2)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert rejection(inspect_model, path).reason is RejectionReason.TOO_LARGE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_huge_pickle_is_refused(path: Path) -> None:
    archive(path, {"data.pkl": bytes(65 * 1024**2)}, compressed=False)
    assert rejection(inspect_model, path).reason is RejectionReason.TOO_LARGE


def test_a_tensor_that_repeats_one_number_for_ever_is_refused(path: Path) -> None:
    written(path, pickled({"a": torch.ones(1).expand(10**6, 10**6)}))
    assert rejection(load_state_dict, path).reason is RejectionReason.TOO_LARGE


def test_a_tensor_larger_than_its_file_is_refused(path: Path) -> None:
    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pickled({"a": torch.arange(1000.0)}))) as whole,
        zipfile.ZipFile(content, "w") as cut,
    ):
        for entry in whole.infolist():
            record = whole.read(entry)
            cut.writestr(entry.filename, record[:8] if "/data/" in entry.filename else record)
    assert rejection(load_state_dict, written(path, content.getvalue()))


def test_ten_thousand_tensors_are_refused(path: Path) -> None:
    state = {str(index): torch.zeros(1) for index in range(10_000)}
    assert len(state) > MAX_TENSORS
    for content in (pickled(state), safetensors.torch.save(state)):
        assert rejection(load_state_dict, written(path, content)).reason is (
            RejectionReason.TOO_LARGE
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(2).to_sparse(),
        lambda: torch.ones(2, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "quantised"],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_is_not_plain_is_refused(make: Callable[[], Tensor], path: Path) -> None:
    assert rejection(load_state_dict, written(path, pickled({"a": make()})))


def test_a_module_that_contains_itself_is_refused(path: Path) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    model._modules["again"] = model
    assert rejection(inspect_model, written(path, pickled(model)))


def test_a_model_with_a_nan_is_refused_by_the_tensors_name(path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        model[0].bias[3] = float("inf")
    refused = rejection(inspect_model, written(path, pickled(model)))
    assert refused.reason is RejectionReason.NOT_FINITE
    assert "0.bias" in refused.detail


@pytest.mark.parametrize(
    ("content", "container"),
    [
        (pickled(tiny()), ModelFormat.PICKLED_MODULE),
        (tiny_file(), ModelFormat.TORCHSCRIPT),
        (pickled(tiny().state_dict()), ModelFormat.PICKLED_STATE_DICT),
        (pickled(dict(tiny().state_dict())), ModelFormat.PICKLED_STATE_DICT),
        (safetensors.torch.save(tiny().state_dict()), ModelFormat.SAFETENSORS),
    ],
)
def test_an_update_may_come_in_any_container(
    content: bytes, container: ModelFormat, path: Path
) -> None:
    found, state = load_update(written(path, content))
    assert found is container
    expected = tiny().state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert not any(tensor.requires_grad for tensor in state.values())


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_written_model_is_the_base_with_other_weights(container: str, tmp_path: Path) -> None:
    content = CONTAINERS[container](tiny())
    base = written(tmp_path / "base", content)
    state = {name: tensor + 1 for name, tensor in drifted(tiny(), seed=3).state_dict().items()}
    outputs = []
    for name in ("one", "another"):
        write_like(base, state, tmp_path / name)
        outputs.append((tmp_path / name).read_bytes())
    assert outputs[0] == outputs[1]
    assert base.read_bytes() == content
    assert abs(len(outputs[0]) - len(content)) < 4096
    model = as_client_loads(outputs[0])
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())
    assert model(torch.ones(4, 3)).shape == (4, 2)
    assert inspect_model(tmp_path / "one").num_tensors == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "base", "one"]


def test_weights_of_another_model_are_not_written(tmp_path: Path) -> None:
    base = written(tmp_path / "base", pickled(tiny()))
    with pytest.raises(Rejected):
        write_like(base, nn.Linear(2, 2).state_dict(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_extra_files_of_a_torchscript_archive_are_kept(tmp_path: Path) -> None:
    base = tmp_path / "base"
    torch.jit.save(torch.jit.script(tiny()), str(base), _extra_files={"labels.txt": "a,b"})
    write_like(base, load_state_dict(base), tmp_path / "out")
    kept = {"labels.txt": ""}
    torch.jit.load(str(tmp_path / "out"), _extra_files=kept)
    assert kept == {"labels.txt": b"a,b"}


def test_each_load_gives_a_fresh_model_and_never_changes_the_file(path: Path) -> None:
    content = pickled(tiny())
    written(path, content)
    first, second = load_module(path), load_module(path)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.fill_(7.0)
    assert not torch.equal(first.state_dict()["0.weight"], second.state_dict()["0.weight"])
    assert path.read_bytes() == content


def test_preprocessing_of_both_generations_is_taken(path: Path) -> None:
    old = transforms.Compose(
        [transforms.ToTensor(), transforms.Resize((4, 4)), transforms.Normalize([0.5], [0.5])]
    )
    new = transforms_v2.Compose(
        [transforms_v2.ToImage(), transforms_v2.ToDtype(torch.float32, scale=True)]
    )
    for preprocessing in (old, new):
        assert callable(load_preprocessing(written(path, pickled(preprocessing))))
    scripted = torchscript(nn.Sequential(transforms_v2.Normalize([0.5], [0.5])))
    assert callable(load_preprocessing(written(path, scripted)))


def test_a_tensor_is_written_and_read(path: Path) -> None:
    write_tensor(torch.arange(3.0), path)
    assert torch.equal(load_tensor(path), torch.arange(3.0))
    assert "not a tensor" in rejection(load_tensor, written(path, pickled(tiny()))).detail


@pytest.mark.parametrize("length", [0x80, 0x4B50], ids=["like a pickle", "like a zip archive"])
def test_safetensors_whose_header_length_looks_like_another_format(
    length: int, tmp_path: Path
) -> None:
    plain = safetensors.torch.save({"w": torch.arange(3.0)})
    header = plain[8 : 8 + int.from_bytes(plain[:8], "little")]
    padded = length.to_bytes(8, "little") + header.ljust(length) + plain[8 + len(header) :]
    path = tmp_path / "update"
    path.write_bytes(padded)
    assert torch.equal(load_state_dict(path)["w"], torch.arange(3.0))


def test_a_tensor_whose_numbers_are_not_those_in_memory_is_refused(path: Path) -> None:
    negated = torch.tensor([1.0 + 2.0j, 3.0 + 4.0j]).conj().imag
    assert negated.is_neg()
    torch.save({"weight": negated}, path)
    assert "weight is not a plain dense tensor" in rejection(load_update, path).detail
