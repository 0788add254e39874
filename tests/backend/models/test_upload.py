import io
import secrets
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import ServerMaker
from tests.federations import People, Person, accepted_model, upload_model
from tests.model_files import (
    CallsOnLoad,
    Unlisted,
    pickle_of_a_string,
    pickled,
    tiny,
    tiny_file,
    torchscript,
)
from tests.servers import Server


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


@pytest.mark.parametrize("container", [torchscript, pickled])
def test_a_model_comes_back_byte_for_byte(
    actor: Person, container: Callable[[nn.Module], bytes]
) -> None:
    content = container(tiny())

    answer = upload_model(actor, content)
    assert answer.status_code == 201, answer.text
    assert answer.json()["detail"] == "Model Upload Accepted"
    model_id = answer.json()["model_id"]
    download = actor.client.get(f"/api/models/{model_id}/")

    assert download.status_code == 200
    assert download.headers["Content-Type"] == "application/octet-stream"
    assert f'filename="model-{model_id}.pt"' in download.headers["Content-Disposition"]
    assert download.headers["Content-Length"] == str(len(content))
    assert download.content == content


def test_the_metadata_are_what_was_given(actor: Person) -> None:
    model_id = accepted_model(actor, name="Größe", description="d" * 5000)

    metadata = actor.client.get(f"/api/models/{model_id}/metadata/").json()

    stats = metadata.pop("stats")
    assert datetime.fromisoformat(metadata.pop("created_at")).tzinfo is not None
    content = actor.client.get(f"/api/models/{model_id}/").content
    assert metadata == {
        "id": model_id,
        "kind": "GLOBAL",
        "format": "torchscript",
        "num_parameters": 66,
        "size_bytes": len(content),
        "round": 0,
        "name": "Größe",
        "description": "d" * 5000,
        "input_shape": [None, 3],
        "preprocessing": None,
        "owner": actor.id,
        "has_preprocessing": False,
    }
    assert stats["total_params"] == 66
    assert stats["trainable_params"] == 66


def test_statistics_of_a_module_list_its_layers(actor: Person) -> None:
    model_id = accepted_model(actor, pickled(tiny()))

    stats = actor.client.get(f"/api/models/{model_id}/metadata/").json()["stats"]

    layers = stats["summary_list"]
    assert [layer["class_name"] for layer in layers] == [
        "Sequential",
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    assert (layers[1]["input_size"], layers[1]["output_size"]) == ([1, 3], [1, 8])
    assert layers[1]["num_params"] == 32


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (["None", "3"], [None, 3]),
        (["null", "3"], [None, 3]),
        (["none", "3"], [None, 3]),
        (["2", "3"], [2, 3]),
        (["None"], None),
        ([], None),
    ],
)
def test_the_input_shape_is_a_list_of_dimensions(
    actor: Person, given: list[str], shape: list[int | None] | None
) -> None:
    answer = upload_model(actor, input_shape=given)
    assert answer.status_code == 201, answer.text

    metadata = actor.client.get(f"/api/models/{answer.json()['model_id']}/metadata/").json()

    assert metadata["input_shape"] == shape
    assert (metadata["stats"] is None) == (shape is None)


def test_the_round_may_be_given(actor: Person) -> None:
    model_id = accepted_model(actor, round="5")

    assert actor.client.get(f"/api/models/{model_id}/metadata/").json()["round"] == 5


@pytest.mark.parametrize("kind", ["GLOBAL", "global", "Global"])
def test_the_type_is_case_insensitive(actor: Person, kind: str) -> None:
    assert upload_model(actor, type=kind).status_code == 201


def test_an_empty_name_and_the_longest_are_accepted(actor: Person) -> None:
    assert upload_model(actor, name="", description="").status_code == 201
    assert upload_model(actor, name="n" * 256).status_code == 201


def test_the_list_holds_the_own_models_only(make_user: People, actor: Person) -> None:
    first, second = accepted_model(actor), accepted_model(actor, pickled(tiny()))
    stranger = make_user()

    listed = actor.client.get("/api/models/").json()

    assert {model["id"] for model in listed} == {first, second}
    assert all(model["owner"] == actor.id for model in listed)
    assert stranger.client.get("/api/models/").json() == []


@pytest.mark.parametrize("path", ["", "metadata/", "metrics/"])
def test_a_strangers_model_is_a_403(make_user: People, actor: Person, path: str) -> None:
    model_id = accepted_model(actor)

    answer = make_user().client.get(f"/api/models/{model_id}/{path}")

    assert answer.status_code == 403
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("path", ["", "metadata/", "metrics/"])
@pytest.mark.parametrize("given", ["abc", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_model_is_a_400(actor: Person, given: str, path: str) -> None:
    answer = actor.client.get(f"/api/models/{given}/{path}")

    assert answer.status_code == 400
    assert answer.json()["detail"] == f"Model {given} not found."


@pytest.mark.parametrize("spelling", [str.upper, lambda text: text.replace("-", "")])
def test_model_ids_are_accepted_in_every_spelling(
    actor: Person, spelling: Callable[[str], str]
) -> None:
    model_id = accepted_model(actor)

    metadata = actor.client.get(f"/api/models/{spelling(model_id)}/metadata/")

    assert metadata.status_code == 200
    assert metadata.json()["id"] == model_id


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"input_shape": [""]}, "input_shape", id="empty-shape"),
        pytest.param({"input_shape": ["None,3"]}, "input_shape", id="shape-with-commas"),
        pytest.param({"input_shape": ["abc"]}, "input_shape", id="shape-of-text"),
        pytest.param({"input_shape": ["-1", "3"]}, "input_shape", id="negative-dimension"),
        pytest.param({"input_shape": ["1.5"]}, "input_shape", id="fractional-dimension"),
        pytest.param({"name": "n" * 257}, "name", id="long-name"),
        pytest.param({"name": ["a", "b"]}, "name", id="two-names"),
        pytest.param({"round": "-1"}, "round", id="negative-round"),
        pytest.param({"round": "x"}, "round", id="round-of-text"),
        pytest.param({"round": "9" * 30}, "round", id="huge-round"),
        pytest.param({"type": "WHATEVER"}, "type", id="unknown-type"),
        pytest.param({"foo": "bar"}, "foo", id="unknown-field"),
        pytest.param({"id": "c0c01161-0b69-4921-a192-f277fec6698e"}, "id", id="own-id"),
        pytest.param({"has_preprocessing": "true"}, "has_preprocessing", id="answers-field"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_stored(
    server: Server, actor: Person, fields: dict[str, str | list[str]], field: str
) -> None:
    before = server.holdings()

    answer = upload_model(actor, **fields)  # type: ignore[arg-type]

    assert answer.status_code == 400, answer.text
    assert field in answer.json()["detail"]
    assert field in answer.json()["errors"]
    assert server.holdings().new_since(before) == {}


@pytest.mark.parametrize("missing", ["name", "description"])
def test_a_missing_field_is_named(server: Server, actor: Person, missing: str) -> None:
    before = server.holdings()
    form = {"name": "n", "description": "d"}
    del form[missing]

    answer = actor.client.post(
        "/api/models/", data=form, files={"model_file": ("model.pt", tiny_file())}
    )

    assert answer.status_code == 400
    assert missing in answer.json()["errors"]
    assert server.holdings().new_since(before) == {}


def test_a_missing_file_is_named(server: Server, actor: Person) -> None:
    before = server.holdings()
    form = {"name": "n", "description": "d"}

    answers = [
        actor.client.post("/api/models/", data=form, files={"other": ("x", b"x")}),
        actor.client.post("/api/models/", data=form),
        actor.client.post("/api/models/", json=form),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert "No uploaded file 'model_file' found." in answers[1].json()["detail"]
    assert server.holdings().new_since(before) == {}


def test_a_broken_multipart_body_is_refused(server: Server, actor: Person) -> None:
    before = server.holdings()
    whole = (
        b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nn\r\n'
        b'--b\r\nContent-Disposition: form-data; name="model_file"; filename="m"\r\n\r\nabc'
    )

    answers = [
        actor.client.post("/api/models/", content=body, headers={"Content-Type": kind})
        for body, kind in [
            (whole, "multipart/form-data; boundary=b"),
            (whole, "multipart/form-data"),
            (b"", "multipart/form-data; boundary=b"),
            (b"garbage", "multipart/form-data; boundary=b"),
            (b"{", "application/json"),
        ]
    ]

    assert [answer.status_code for answer in answers] == [400] * 5
    assert all(isinstance(answer.json()["detail"], str) for answer in answers)
    assert server.holdings().new_since(before) == {}


def truncated_archive() -> bytes:
    content = pickled(tiny())
    return content[: len(content) // 2]


def other_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "not a model")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(secrets.token_bytes(140), id="garbage"),
        pytest.param(truncated_archive(), id="truncated"),
        pytest.param(other_zip(), id="other-zip"),
        pytest.param(pickled(torch.zeros(3)), id="tensor"),
        pytest.param(pickled(tiny().state_dict()), id="state-dict"),
        pytest.param(pickled({"a": 1}), id="dictionary"),
        pytest.param(pickle_of_a_string(), id="plain-pickle"),
    ],
)
def test_what_is_no_model_is_refused_and_nothing_is_stored(
    server: Server, actor: Person, content: bytes
) -> None:
    before = server.holdings()

    answer = upload_model(actor, content)

    assert answer.status_code == 400, answer.text
    assert isinstance(answer.json()["detail"], str)
    assert server.holdings().new_since(before) == {}


def test_a_class_that_is_not_allowed_is_named(server: Server, actor: Person) -> None:
    before = server.holdings()

    answer = upload_model(actor, pickled(Unlisted()))

    assert answer.status_code == 400
    assert "Unlisted" in answer.json()["detail"]
    assert server.holdings().new_since(before) == {}


def test_a_pickle_that_calls_a_function_is_refused_and_not_run(
    server: Server, actor: Person, tmp_path: Path
) -> None:
    before = server.holdings()
    trace = tmp_path / "was-run"

    answer = upload_model(actor, pickled(CallsOnLoad(str(trace))))

    assert answer.status_code == 400
    assert "open" in answer.json()["detail"]
    assert not trace.exists()
    assert server.holdings().new_since(before) == {}


def test_a_module_that_hides_a_call_is_refused_and_not_run(
    server: Server, actor: Person, tmp_path: Path
) -> None:
    trace = tmp_path / "was-run"
    model = tiny()
    model.trojan = CallsOnLoad(str(trace))  # type: ignore[assignment]

    answer = upload_model(actor, pickled(model))

    assert answer.status_code == 400
    assert not trace.exists()


def test_an_upload_over_the_limit_is_a_413(new_server: ServerMaker) -> None:
    server = new_server({"STARLING_MAX_UPLOAD_BYTES": "65536"}).start_and_wait()
    people = People(server)
    actor = people(actor=True)
    small = accepted_model(actor)
    before = server.holdings()
    large = pickled(nn.Linear(300, 300))

    def in_pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="model_file"; filename="m"\r\n\r\n'
        for start in range(0, len(large), 8192):
            yield large[start : start + 8192]
        yield b"\r\n--b--\r\n"

    answers = [
        upload_model(actor, large),
        actor.client.post(
            "/api/models/",
            content=in_pieces(),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        ),
        actor.client.post(
            f"/api/models/{small}/",
            data={"round": "0", "sample_size": "1"},
            files={"model_file": ("m", large)},
        ),
    ]

    assert [answer.status_code for answer in answers] == [413, 413, 413]
    assert all(isinstance(answer.json()["detail"], str) for answer in answers)
    assert server.holdings().new_since(before) == {}
    people.close()
    server.stop()
