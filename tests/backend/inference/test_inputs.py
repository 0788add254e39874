"""What a prediction takes as its input, in which encodings, and what it refuses."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

# Makes torchvision importable beside a torch it was not built for.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision.transforms import v2

from tests.backend.inference.predictions import (
    BATCH,
    INPUT,
    arrays,
    ask,
    asked,
    asked_with_file,
    refusal,
    tiny_outputs,
)
from tests.federations import People, Person, accepted_model
from tests.model_files import CallsOnLoad, drifted, pickled, tiny, torchscript

NOT_A_TENSOR = (
    "Model input could not be casted or interpreted as a PyTorch tensor object "
    "and no preprecessing is defined."
)
STILL_NOT_A_TENSOR = (
    "Model input could not be casted or interpreted as a PyTorch tensor object "
    "and is still not a PyTorch tensor after preprecessing."
)
WRONG_SHAPE = "Input shape does not match model input shape."
SAVED = pickled(BATCH)
TEXT = base64.b64encode(SAVED)


class Doubled(nn.Module):
    def forward(self, batch: Tensor) -> Tensor:
        return batch * 2


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


@pytest.fixture
def model_id(actor: Person) -> str:
    return accepted_model(actor, torchscript(network()))


def network() -> nn.Module:
    return drifted(tiny(), seed=1).eval()


def classes(batch: object) -> list[int]:
    return [int(one) for one in tiny_outputs(arrays(network()), batch).argmax(1)]


def model_with(
    actor: Person, model: nn.Module, preprocessing: nn.Module | bytes, shape: list[str]
) -> str:
    content = preprocessing if isinstance(preprocessing, bytes) else pickled(preprocessing)
    answer = actor.client.post(
        "/api/models/",
        data={"name": "M", "description": "with preprocessing", "input_shape": shape},
        files={
            "model_file": ("model.pt", torchscript(model)),
            "model_preprocessing_file": ("p.pt", content),
        },
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["model_id"])


def test_integers_are_numbers_too(actor: Person, model_id: str) -> None:
    integers = [[1, 2, 3], [0, -1, 0]]

    assert ask(actor, model_id, integers) == {"inference": classes(integers), "uncertainty": {}}


@pytest.mark.parametrize(
    "content",
    [SAVED, TEXT, b"data:application/octet-stream;base64," + TEXT],
    ids=["tensor", "base64", "data-url"],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_a_saved_tensor_is_taken_from_a_form(
    actor: Person, model_id: str, content: bytes, as_file: bool
) -> None:
    if as_file:
        answer = asked_with_file(actor, model_id, content, return_format="json")
    else:
        answer = actor.client.post(
            "/api/inference/",
            files={
                "model_id": (None, model_id),
                "model_input": (None, content),
                "return_format": (None, "json"),
            },
        )

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"inference": classes(INPUT), "uncertainty": {}}


def test_base64_of_a_saved_tensor_is_taken_from_json(actor: Person, model_id: str) -> None:
    assert ask(actor, model_id, TEXT.decode()) == {"inference": classes(INPUT), "uncertainty": {}}


@pytest.mark.parametrize("encoding", ["file", "base64"])
def test_an_image_goes_through_the_preprocessing(actor: Person, encoding: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10)).eval()
    preprocessing = v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.1307], std=[0.3015]),
        ]
    )
    model_id = model_with(actor, model, preprocessing, ["None", "28", "28"])
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")

    if encoding == "file":
        answer = asked_with_file(actor, model_id, png.getvalue(), return_format="json")
    else:
        answer = asked(actor, model_id, base64.b64encode(png.getvalue()).decode())

    assert answer.status_code == 200, answer.text
    flat = ((pixels / 255 - 0.1307) / 0.3015).reshape(1, -1)
    weights = arrays(model)
    expected = (flat @ weights["1.weight"].T + weights["1.bias"]).argmax(1)
    assert answer.json() == {"inference": expected.tolist(), "uncertainty": {}}


def test_numbers_go_through_a_scripted_preprocessing(actor: Person) -> None:
    model_id = model_with(actor, network(), torchscript(Doubled()), ["None", "3"])

    doubled = [[2 * number for number in row] for row in INPUT]
    assert ask(actor, model_id) == {"inference": classes(doubled), "uncertainty": {}}


def test_the_shape_that_counts_is_the_one_after_the_preprocessing(actor: Person) -> None:
    model_id = model_with(actor, network(), nn.Flatten(), ["None", "3"])

    assert ask(actor, model_id, [[[1.0], [2.0], [3.0]]]) == ask(actor, model_id, [[1, 2, 3]])


def test_what_no_preprocessing_makes_a_tensor_of_is_refused(actor: Person) -> None:
    model_id = model_with(actor, network(), v2.Resize(2), ["None", "3"])
    garbage = asked_with_file(actor, model_id, b"garbage")

    assert refusal(garbage) == STILL_NOT_A_TENSOR


@pytest.mark.parametrize("given", [[[1.0, 2.0]], [1.0, 2.0, 3.0], [[[1.0, 2.0, 3.0]]], 5, []])
def test_another_shape_than_the_models_is_refused(
    actor: Person, model_id: str, given: object
) -> None:
    assert refusal(asked(actor, model_id, given)) == WRONG_SHAPE


@pytest.mark.parametrize(
    "given",
    [
        *([[1.0], [1.0, 2.0]], "hello world", "", None, [["1", "2", "3"]], [[None]], {"a": 1}),
        *("/etc/passwd", "file:///etc/passwd"),
    ],
)
def test_what_is_no_tensor_is_refused(actor: Person, model_id: str, given: object) -> None:
    answer = asked(actor, model_id, given)

    assert refusal(answer) == NOT_A_TENSOR
    assert "root" not in answer.text


def test_the_path_of_a_tensor_is_not_opened(actor: Person, model_id: str, tmp_path: Path) -> None:
    path = tmp_path / "input.pt"
    path.write_bytes(SAVED)
    in_form = {"model_id": (None, model_id), "model_input": (None, str(path).encode())}

    assert refusal(asked(actor, model_id, str(path))) == NOT_A_TENSOR
    assert refusal(asked(actor, model_id, path.as_uri())) == NOT_A_TENSOR
    assert refusal(asked_with_file(actor, model_id, str(path).encode())) == NOT_A_TENSOR
    assert refusal(actor.client.post("/api/inference/", files=in_form)) == NOT_A_TENSOR


def test_a_pickle_is_not_run(actor: Person, model_id: str, tmp_path: Path) -> None:
    trace = tmp_path / "was-run"

    refused = asked_with_file(actor, model_id, pickled(CallsOnLoad(str(trace))))

    assert refusal(refused) == NOT_A_TENSOR
    assert not trace.exists()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"return_format": "xml"}, "xml"),
        ({"return_format": 5}, "return_format"),
        ({"owner": "me"}, "owner"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_a_bad_field_is_named(
    actor: Person, model_id: str, fields: dict[str, object], named: str
) -> None:
    assert named in refusal(asked(actor, model_id, **fields))


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"return_format": "xml"}, "xml"), ({"owner": "me"}, "owner"), ({"seed": "1.5"}, "seed")],
)
def test_a_bad_form_field_is_named(
    actor: Person, model_id: str, fields: dict[str, str], named: str
) -> None:
    assert named in refusal(asked_with_file(actor, model_id, SAVED, **fields))


def test_both_fields_are_needed(actor: Person, model_id: str) -> None:
    no_model = actor.client.post("/api/inference/", json={"model_input": INPUT})
    no_input = actor.client.post("/api/inference/", json={"model_id": model_id})

    assert refusal(no_model) == "No 'model_id' provided in request."
    assert refusal(no_input) == "No uploaded file 'model_input' found."


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded"]
)
def test_other_media_types_are_refused(actor: Person, media_type: str) -> None:
    answer = actor.client.post(
        "/api/inference/", content=b"model_id=1", headers={"Content-Type": media_type}
    )

    assert "media type" in refusal(answer, 415)
