"""What a predictor makes of inputs, and how it encodes answers."""

import base64
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from compute.blobs import BlobStore
from compute.contract import Predict, Rejected, RejectionReason, ReturnFormat, UncertaintyMethod
from compute.predictor import Predictor
from tests.compute.models import Greedy, stored
from tests.model_files import drifted, pickled, tiny, torchscript

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision.transforms import v2 as transforms

NUMBERS = msgspec.Raw(b"[[1, 2, 3], [0.5, -1, 0]]")
NOT_A_TENSOR = r"could not be casted .* and no preprecessing is defined\."
STILL_NOT_A_TENSOR = r"is still not a PyTorch tensor after preprecessing\."

TO_TWO_BY_TWO = transforms.Compose(
    [transforms.ToImage(), transforms.ToDtype(torch.float32, scale=True), transforms.Resize(2)]
)


class Echo(nn.Module):
    """Gives its input, so that a test sees what the model was given."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch.unsqueeze(0).unsqueeze(0).float()


class Doubled(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        return batch * 2


class Pair(nn.Module):
    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return batch, batch


@pytest.fixture
def predictor(store: BlobStore) -> Predictor:
    return Predictor(store, torch.device("cpu"))


@pytest.fixture
def tiny_key(store: BlobStore) -> str:
    return stored(store, pickled(tiny())).digest


def given_to_the_model(predictor: Predictor, store: BlobStore, **fields: object) -> Tensor:
    """The tensor that an input becomes."""
    key = stored(store, torchscript(Echo())).digest
    order = Predict(
        model_keys=[key, key],
        method=UncertaintyMethod.ENSEMBLE,
        return_format=ReturnFormat.SAFETENSORS,
        **fields,
    )
    return safetensors.torch.load(predictor.predict(order).content)["inference"][0, 0]


def png(mode: str = "L", size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    image = Image.new("L", size)
    image.putdata(list(range(size[0] * size[1])))
    image.convert(mode).save(file, "PNG")
    return file.getvalue()


def test_json_has_numbers_and_null_for_what_json_cannot_say(
    predictor: Predictor, tiny_key: str
) -> None:
    order = Predict(
        model_keys=[tiny_key], values=NUMBERS, method=UncertaintyMethod.MC_DROPOUT, samples=1
    )
    answer = json.loads(predictor.predict(order).content)
    assert set(answer) == {"inference", "uncertainty"}
    assert answer["uncertainty"]["variance"] == [[None, None], [None, None]]


def test_binary_is_a_pickle_of_tensors_as_clients_load_it(
    predictor: Predictor, tiny_key: str
) -> None:
    order = Predict(
        model_keys=[tiny_key],
        values=NUMBERS,
        method=UncertaintyMethod.MC_DROPOUT,
        softmax=True,
        seed=3,
        return_format=ReturnFormat.BINARY,
    )
    content = predictor.predict(order).content
    assert content.startswith(b"\x80\x04\x95")
    answer = pickle.loads(content)  # noqa: S301 - our own answer, as clients read it
    names = {"variance", "std", "predictive_entropy", "expected_entropy", "mutual_info"}
    assert set(answer["uncertainty"]) == names
    assert answer["inference"].shape == (2, 2)
    assert answer["uncertainty"]["mutual_info"].shape == (2,)
    safe = msgspec.structs.replace(order, return_format=ReturnFormat.SAFETENSORS)
    tensors = safetensors.torch.load(predictor.predict(safe).content)
    assert set(tensors) == {"inference", *(f"uncertainty.{name}" for name in names)}
    assert torch.equal(tensors["inference"], answer["inference"])


def test_numbers_become_float32(predictor: Predictor, store: BlobStore) -> None:
    given = given_to_the_model(predictor, store, values=msgspec.Raw(b"[[1, 2.5], [true, -3]]"))
    assert torch.equal(given, torch.tensor([[1, 2.5], [1, -3]]))


@pytest.mark.parametrize("encoded", [bytes, base64.b64encode, base64.encodebytes])
def test_a_saved_tensor_is_taken_as_it_is_or_in_base64(
    predictor: Predictor, store: BlobStore, encoded: type[bytes]
) -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    content = encoded(pickled(tensor))
    assert torch.equal(given_to_the_model(predictor, store, content=content), tensor)


def test_base64_in_a_json_string_is_taken_too(predictor: Predictor, store: BlobStore) -> None:
    text = json.dumps(base64.b64encode(pickled(torch.ones(2, 3))).decode()).encode()
    given = given_to_the_model(predictor, store, values=msgspec.Raw(text))
    assert torch.equal(given, torch.ones(2, 3))


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_an_image_becomes_channels_of_the_unit_interval(
    predictor: Predictor, store: BlobStore, mode: str, channels: int
) -> None:
    given = given_to_the_model(predictor, store, content=png(mode))
    assert given.shape == (channels, 3, 4)
    assert float(given.min()) >= 0
    assert float(given.max()) <= 1
    if mode == "L":
        assert torch.equal(given.flatten(), torch.arange(12.0) / 255)


@pytest.mark.parametrize(
    "values",
    [
        b'"hello world"',
        b'"/etc/passwd"',
        b"[[1], [1, 2]]",
        b"[[null]]",
        b'[["1"]]',
        b'{"a": 1}',
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 40 + b"]" * 40,
        b"[[1e999]]",
        b"not json",
    ],
    ids=range(10),
)
def test_what_is_no_tensor_is_rejected(predictor: Predictor, tiny_key: str, values: bytes) -> None:
    with pytest.raises(Rejected, match=NOT_A_TENSOR) as caught:
        predictor.predict(Predict(model_keys=[tiny_key], values=msgspec.Raw(values)))
    assert caught.value.reason is RejectionReason.BAD_INPUT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"/etc/passwd",
        pickled(tiny()),
        pickled([1]),
        png()[:30],
        b"PK\x03\x04",
        b"%!PS",
    ],
    ids=range(8),
)
def test_bytes_that_are_no_tensor_and_no_image_are_rejected(
    predictor: Predictor, tiny_key: str, content: bytes
) -> None:
    with pytest.raises(Rejected, match=NOT_A_TENSOR):
        predictor.predict(Predict(model_keys=[tiny_key], content=content))


def test_a_path_is_not_opened(predictor: Predictor, tiny_key: str, tmp_path: Path) -> None:
    path = tmp_path / "input.pt"
    path.write_bytes(pickled(torch.ones(2, 3)))
    with pytest.raises(Rejected, match=NOT_A_TENSOR):
        predictor.predict(Predict(model_keys=[tiny_key], content=str(path).encode()))


def test_an_image_of_absurd_size_is_rejected_unread(predictor: Predictor, tiny_key: str) -> None:
    file = io.BytesIO()
    Image.new("1", (40_000, 40_000)).save(file, "PNG")
    assert len(file.getvalue()) < 1_000_000
    with pytest.raises(Rejected, match="pixels") as caught:
        predictor.predict(Predict(model_keys=[tiny_key], content=file.getvalue()))
    assert caught.value.reason is RejectionReason.TOO_LARGE


def test_a_tensor_that_stands_for_more_than_its_file_is_rejected(
    predictor: Predictor, tiny_key: str
) -> None:
    vast = pickled(torch.ones(1).expand(2**20, 2**20))
    with pytest.raises(Rejected) as caught:
        predictor.predict(Predict(model_keys=[tiny_key], content=vast))
    assert caught.value.reason is RejectionReason.TOO_LARGE


@pytest.mark.parametrize("shape", [[None, 3], [2, None], [None, None], None])
def test_free_dimensions_match_anything(
    predictor: Predictor, tiny_key: str, shape: list[int | None] | None
) -> None:
    order = Predict(model_keys=[tiny_key], values=NUMBERS, input_shape=shape)
    assert predictor.predict(order).content == b'{"inference":[0,1],"uncertainty":{}}'


@pytest.mark.parametrize("shape", [[None, 4], [None], [1, 3], [None, None, None], []])
def test_an_input_of_another_shape_is_rejected(
    predictor: Predictor, tiny_key: str, shape: list[int | None]
) -> None:
    with pytest.raises(Rejected, match=r"Input shape does not match model input shape\."):
        predictor.predict(Predict(model_keys=[tiny_key], values=NUMBERS, input_shape=shape))


@pytest.mark.parametrize("scripted", [True, False])
def test_numbers_go_through_preprocessing(
    predictor: Predictor, store: BlobStore, scripted: bool
) -> None:
    content = torchscript(Doubled()) if scripted else pickled(transforms.Normalize([0.0], [0.5]))
    given = given_to_the_model(
        predictor,
        store,
        values=msgspec.Raw(b"[[[1, 2]]]"),
        preprocessing_key=stored(store, content).digest,
        input_shape=[1, 1, 2],
    )
    assert torch.equal(given, torch.tensor([[[2.0, 4.0]]]))


def test_an_image_goes_through_transforms_as_an_image(
    predictor: Predictor, store: BlobStore
) -> None:
    given = given_to_the_model(
        predictor,
        store,
        content=png("RGB", (8, 8)),
        preprocessing_key=stored(store, pickled(TO_TWO_BY_TWO)).digest,
    )
    assert given.shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ([None, 3, 2, 2], (1, 3, 2, 2)),
        ([None, 3, None, None], (1, 3, 2, 2)),
        ([None, None, None, None], (1, 3, 2, 2)),
        ([None, 2, 2], (3, 2, 2)),
        ([None, None, None], (3, 2, 2)),
        (None, (3, 2, 2)),
    ],
)
def test_a_preprocessed_image_is_given_the_free_batch_dimension_that_it_lacks(
    predictor: Predictor,
    store: BlobStore,
    expected: list[int | None] | None,
    given: tuple[int, ...],
) -> None:
    became = given_to_the_model(
        predictor,
        store,
        content=png("RGB", (8, 8)),
        preprocessing_key=stored(store, pickled(TO_TWO_BY_TWO)).digest,
        input_shape=expected,
    )
    assert became.shape == given


@pytest.mark.parametrize(
    "expected", [[1, 3, 2, 2], [None, 1, 2, 2], [None, None, 3, 2, 2], [None], []]
)
def test_a_preprocessed_image_that_lacks_something_else_is_rejected(
    predictor: Predictor, store: BlobStore, tiny_key: str, expected: list[int | None]
) -> None:
    order = Predict(
        model_keys=[tiny_key],
        content=png("RGB", (8, 8)),
        preprocessing_key=stored(store, pickled(TO_TWO_BY_TWO)).digest,
        input_shape=expected,
    )
    with pytest.raises(Rejected, match=r"Input shape does not match model input shape\."):
        predictor.predict(order)


def test_an_image_without_preprocessing_is_no_batch(
    predictor: Predictor, store: BlobStore, tiny_key: str
) -> None:
    order = Predict(
        model_keys=[tiny_key], content=png("RGB", (8, 8)), input_shape=[None, 3, None, None]
    )
    with pytest.raises(Rejected, match=r"Input shape does not match model input shape\."):
        predictor.predict(order)


@pytest.mark.parametrize("content", [png(), b"garbage"], ids=["image", "garbage"])
def test_what_is_no_tensor_even_after_preprocessing_is_rejected(
    predictor: Predictor, store: BlobStore, tiny_key: str, content: bytes
) -> None:
    resize = stored(store, pickled(transforms.Resize(2))).digest
    with pytest.raises(Rejected, match=STILL_NOT_A_TENSOR):
        predictor.predict(Predict(model_keys=[tiny_key], content=content, preprocessing_key=resize))


@pytest.mark.parametrize("form", [pickled, torchscript])
def test_a_model_that_raises_is_the_callers_to_mend(
    predictor: Predictor, store: BlobStore, form: type[bytes]
) -> None:
    key = stored(store, form(nn.Linear(5, 2))).digest
    with pytest.raises(Rejected, match=r"failed on this input: mat1 and mat2 shapes") as caught:
        predictor.predict(Predict(model_keys=[key], values=NUMBERS))
    assert caught.value.reason is RejectionReason.BAD_INPUT
    assert "\n" not in caught.value.detail
    assert "/" not in caught.value.detail


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Greedy(), "more memory than it may"),
        (Pair(), "answers with a tuple"),
        (nn.Flatten(0), r"shape \[6\], where \(batch, classes\) is needed"),
    ],
    ids=["greedy", "pair", "flat"],
)
def test_an_answer_that_cannot_be_used_is_rejected(
    predictor: Predictor, store: BlobStore, model: nn.Module, reason: str
) -> None:
    key = stored(store, torchscript(model)).digest
    with pytest.raises(Rejected, match=reason):
        predictor.predict(Predict(model_keys=[key], values=NUMBERS))


def test_a_model_stays_loaded_until_others_need_its_room(store: BlobStore) -> None:
    keys = [stored(store, pickled(tiny(seed))).digest for seed in range(2)]
    orders = [Predict(model_keys=[key], values=NUMBERS) for key in keys]
    roomy = Predictor(store, torch.device("cpu"))
    narrow = Predictor(store, torch.device("cpu"), cache_bytes=1)
    for order in orders:
        assert roomy.predict(order) == narrow.predict(order)
    for key in keys:
        store.delete(key)
    for order in orders:
        roomy.predict(order)
    narrow.predict(orders[1])
    with pytest.raises(Exception, match=keys[0]):
        narrow.predict(orders[0])


def exported(model: nn.Module, path: Path) -> bytes:
    batch = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]])
    torch.export.save(torch.export.export(model, (batch,)), path)
    return path.read_bytes()


def test_an_exported_program_predicts_as_its_model(
    predictor: Predictor, store: BlobStore, tiny_key: str, tmp_path: Path
) -> None:
    key = stored(store, exported(tiny().eval(), tmp_path / "model.pt2")).digest
    order = Predict(model_keys=[tiny_key], values=NUMBERS)
    other = Predict(model_keys=[key], values=NUMBERS)
    assert predictor.predict(other) == predictor.predict(order)
    with pytest.raises(Rejected, match=r"exported .* models have lost theirs"):
        predictor.predict(msgspec.structs.replace(other, method=UncertaintyMethod.MC_DROPOUT))


def test_a_program_exported_in_training_mode_is_rejected(
    predictor: Predictor, store: BlobStore, tmp_path: Path
) -> None:
    key = stored(store, exported(tiny().train(), tmp_path / "model.pt2")).digest
    with pytest.raises(Rejected, match=r"call \.eval\(\) before"):
        predictor.predict(Predict(model_keys=[key], values=NUMBERS))


@pytest.mark.parametrize("alone", [safetensors.torch.save, pickled], ids=["safetensors", "pickle"])
@pytest.mark.parametrize("form", ["pickled", "torchscript", "exported"])
def test_tensors_alone_predict_in_the_module_of_the_structure(
    predictor: Predictor, store: BlobStore, tmp_path: Path, form: str, alone: Callable[..., bytes]
) -> None:
    forms = {
        "pickled": pickled,
        "torchscript": torchscript,
        "exported": lambda model: exported(model, tmp_path / "model.pt2"),
    }
    update = drifted(tiny(), seed=1).eval()
    whole = stored(store, forms[form](update)).digest
    tensors = stored(store, alone(update.state_dict())).digest
    structure = stored(store, forms[form](tiny().eval())).digest
    order = Predict(model_keys=[tensors], values=NUMBERS, structure_key=structure, softmax=True)

    expected = predictor.predict(msgspec.structs.replace(order, model_keys=[whole]))

    assert predictor.predict(order) == expected
    # What a structure is used for does not change it.
    assert predictor.predict(
        msgspec.structs.replace(order, model_keys=[structure])
    ) == predictor.predict(Predict(model_keys=[structure], values=NUMBERS, softmax=True))


def test_the_same_tensors_predict_in_each_structure_of_their_own(
    predictor: Predictor, store: BlobStore
) -> None:
    tensors = stored(store, pickled(nn.Sequential(nn.Linear(3, 2)).state_dict())).digest
    structures = [nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 2), nn.Softmin(1))]
    orders = [
        Predict(
            model_keys=[tensors],
            values=NUMBERS,
            structure_key=stored(store, pickled(structure)).digest,
        )
        for structure in structures
    ]

    together = predictor.predict_all(orders)

    assert together == [predictor.predict(order) for order in orders]
    assert together[0] != together[1]


def test_tensors_that_do_not_fit_the_structure_are_rejected(
    predictor: Predictor, store: BlobStore, tiny_key: str
) -> None:
    tensors = stored(store, safetensors.torch.save(nn.Linear(3, 2).state_dict())).digest
    with pytest.raises(Rejected, match="Missing key") as caught:
        predictor.predict(Predict(model_keys=[tensors], values=NUMBERS, structure_key=tiny_key))
    assert caught.value.reason is RejectionReason.INCOMPATIBLE
