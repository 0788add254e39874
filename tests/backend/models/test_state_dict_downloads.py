"""Models as bare state dicts: what they hold, and that they behave like any other download."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import safetensors.torch
import torch

from compute.contract import TensorEncoding
from compute.encodings import METADATA_KEY, decoded
from tests.federations import MakeFederation, People, Person, accepted_model
from tests.model_files import drifted, pickled, tiny, tiny_file, torchscript

SAFETENSORS = "application/vnd.safetensors"
EXACT = {"format": "safetensors"}


@pytest.fixture
def owner(make_user: People) -> Person:
    return make_user("owner")


def get(person: Person, model_id: str, **options: object) -> httpx.Response:
    return person.client.get(f"/api/models/{model_id}/", **options)  # type: ignore[arg-type]


def metadata_of(content: bytes) -> dict[str, str]:
    length = int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8 : 8 + length]).get("__metadata__", {}))


@pytest.mark.parametrize("content", [tiny_file(), pickled(tiny())], ids=["script", "pickle"])
def test_the_tensors_are_those_of_the_model(owner: Person, content: bytes) -> None:
    model_id = accepted_model(owner, content)

    answer = get(owner, model_id, params=EXACT)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == SAFETENSORS
    assert answer.headers["Content-Disposition"] == f'filename="model-{model_id}.safetensors"'
    assert answer.headers["Starling-Round"] == "0"
    found, expected = safetensors.torch.load(answer.content), tiny().state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_accept_header_asks_for_them_too(owner: Person) -> None:
    model_id = accepted_model(owner)
    asked = get(owner, model_id, params=EXACT)

    accepted = get(owner, model_id, headers={"Accept": SAFETENSORS})
    anything = get(owner, model_id, headers={"Accept": "*/*"})
    insisted = get(owner, model_id, params={"format": "original"}, headers={"Accept": SAFETENSORS})

    assert accepted.content == asked.content
    assert anything.content == insisted.content == tiny_file()
    assert {answer.headers["Vary"] for answer in (asked, accepted, anything)} == {"Accept"}


def test_it_is_resumed_and_spared_like_any_download(owner: Person) -> None:
    model_id = accepted_model(owner)
    whole = get(owner, model_id, params=EXACT)
    tag = whole.headers["ETag"]

    part = get(owner, model_id, params=EXACT, headers={"Range": "bytes=5-9", "If-Range": tag})
    same = get(owner, model_id, params=EXACT, headers={"If-None-Match": tag})
    other = get(owner, model_id, headers={"If-None-Match": tag})
    head = owner.client.head(f"/api/models/{model_id}/", params=EXACT)

    assert (part.status_code, part.content) == (206, whole.content[5:10])
    assert (same.status_code, same.content) == (304, b"")
    assert other.status_code == 200
    assert (head.status_code, head.headers["ETag"]) == (200, tag)


@pytest.mark.parametrize("encoding", list(TensorEncoding), ids=str)
def test_it_comes_in_fewer_bits_for_the_asking(owner: Person, encoding: TensorEncoding) -> None:
    model_id = accepted_model(owner)

    answer = get(owner, model_id, params={**EXACT, "encoding": encoding.value})

    found = decoded(safetensors.torch.load(answer.content), metadata_of(answer.content))
    for name, tensor in tiny().state_dict().items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=2**-8, atol=4e-3)
    assert METADATA_KEY in metadata_of(answer.content)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"format": "onnx"}, "format"),
        ({"format": "safetensors", "encoding": "int4"}, "encoding"),
        ({"encoding": "bf16"}, "encoding"),
    ],
    ids=["format", "encoding", "encoding-of-the-file"],
)
def test_what_there_is_not_is_named(owner: Person, query: dict[str, str], field: str) -> None:
    answer = get(owner, accepted_model(owner), params=query)
    assert answer.status_code == 400
    assert answer.json()["errors"].keys() == {field}


def test_a_word_that_is_none_of_a_few_is_refused_with_them(owner: Person) -> None:
    answer = get(owner, accepted_model(owner), params={"format": "zip"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == (
        "format: Invalid enum value 'zip'; give original or safetensors."
    )


def test_all_who_ask_at_once_get_the_same_bytes(owner: Person) -> None:
    model_id = accepted_model(owner, torchscript(tiny(seed=7)))
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: get(owner, model_id, params=EXACT), range(8)))
    assert len({answer.content for answer in answers}) == 1


def test_each_version_has_its_own(make_federation: MakeFederation) -> None:
    federation = make_federation(participants=1, rounds=1, options={"skip_model_tests": True})
    participant = federation.participants[0]
    before = get(participant, federation.model_id, params=EXACT)
    trained = drifted(tiny(), seed=1)
    assert federation.upload(participant, torchscript(trained)).is_success
    federation.told(federation.actor, "TRAINING_FINISHED")

    after = get(participant, federation.model_id, params=EXACT)
    old = participant.client.get(f"/api/models/{federation.model_id}/versions/0/", params=EXACT)

    assert (before.headers["Starling-Round"], after.headers["Starling-Round"]) == ("0", "1")
    assert old.content == before.content
    assert old.headers["Starling-Round"] == "0"
    found, expected = safetensors.torch.load(after.content), trained.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_others_may_not_have_it(owner: Person, make_user: People) -> None:
    model_id = accepted_model(owner)
    assert get(make_user("other"), model_id, params=EXACT).status_code == 403
