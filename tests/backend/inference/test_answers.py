"""In which encodings a prediction comes back."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.backend.inference.predictions import BATCH, INPUT, ask, asked, asked_with_file, train
from tests.federations import People, Person, accepted_model
from tests.model_files import pickled, torchscript


@pytest.fixture
def actor(make_user: People) -> Person:
    return make_user("actor", actor=True)


@pytest.fixture
def model_id(actor: Person) -> str:
    """A model whose answers have all five figures."""
    made = accepted_model(actor)
    train(actor, made, "MC_DROPOUT", N=5, softmax=True)
    return made


def assert_same(answer: object, tensors: dict[str, torch.Tensor]) -> None:
    """The JSON answer's figures are those of the tensors."""
    assert isinstance(answer, dict)
    figures = {"inference": answer["inference"], **answer["uncertainty"]}
    assert set(tensors) == set(figures)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(tensor.numpy(), figures[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("asked_as", ["json", "form"])
def test_binary_is_a_pickle_of_tensors(actor: Person, model_id: str, asked_as: str) -> None:
    if asked_as == "json":
        answer = asked(actor, model_id, seed=1, return_format="binary")
    else:  # binary is what a form gets unless it asks for something else
        answer = asked_with_file(actor, model_id, pickled(BATCH), seed="1")

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/octet-stream"
    value = pickle.loads(answer.content)  # noqa: S301 - by our own server
    assert set(value) == {"inference", "uncertainty"}
    assert_same(
        ask(actor, model_id, seed=1), {"inference": value["inference"], **value["uncertainty"]}
    )


def test_the_class_indices_of_none_are_pickled_as_integers(actor: Person) -> None:
    model_id = accepted_model(actor)

    answer = asked_with_file(actor, model_id, pickled(BATCH))
    value = pickle.loads(answer.content)  # noqa: S301 - by our own server

    assert value["uncertainty"] == {}
    assert value["inference"].dtype == torch.int64
    assert value["inference"].shape == (len(INPUT),)


@pytest.mark.parametrize("asked_as", ["json", "form"])
def test_safetensors_hold_the_same_figures(actor: Person, model_id: str, asked_as: str) -> None:
    if asked_as == "json":
        answer = asked(actor, model_id, seed=1, return_format="safetensors")
    else:
        answer = asked_with_file(
            actor, model_id, pickled(BATCH), seed="1", return_format="safetensors"
        )

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/octet-stream"
    tensors = safetensors.torch.load(answer.content)
    assert_same(
        ask(actor, model_id, seed=1),
        {name.removeprefix("uncertainty."): tensor for name, tensor in tensors.items()},
    )


def test_json_is_what_a_json_request_gets(actor: Person, model_id: str) -> None:
    answer = asked(actor, model_id, seed=1)

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == ask(actor, model_id, seed=1, return_format="json")


def test_numbers_that_are_not_finite_are_null(actor: Person) -> None:
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Dropout(0.0))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3e38, 3e38, 3e38], [1.0, 1.0, 1.0]]))
    model_id = accepted_model(actor, torchscript(model))
    train(actor, model_id, "MC_DROPOUT", N=2)

    answer = asked(actor, model_id, [[1.0, 2.0, 3.0]])

    assert answer.status_code == 200, answer.text
    assert "NaN" not in answer.text
    assert "Infinity" not in answer.text
    assert answer.json()["inference"] == [[None, 6.0]]
    assert answer.json()["uncertainty"]["variance"] == [[None, 0.0]]
