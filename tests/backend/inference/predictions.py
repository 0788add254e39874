"""Asks for predictions as clients do, and computes them again with numpy alone."""

import itertools

import httpx
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tests.federations import Person, training_order
from tests.model_files import Weights

Floats = npt.NDArray[np.float64]

INPUT = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0], [-2.0, 0.25, 4.0]]
BATCH = torch.tensor(INPUT)
EPSILON = 1e-5  # of torch's batch normalisation


def ask(person: Person, model_id: str, model_input: object = INPUT, **fields: object) -> object:
    """The JSON answer to a JSON request."""
    answer = asked(person, model_id, model_input, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def asked(
    person: Person, model_id: str, model_input: object = INPUT, **fields: object
) -> httpx.Response:
    """The answer to a JSON request; `fields` add to it."""
    order = {"model_id": model_id, "model_input": model_input, **fields}
    return person.client.post("/api/inference/", json=order)


def asked_with_file(person: Person, model_id: str, content: bytes, **fields: str) -> httpx.Response:
    """The answer to a multipart request with the input as a file; `fields` add to the form."""
    return person.client.post(
        "/api/inference/",
        data={"model_id": model_id, **fields},
        files={"model_input": ("input.pt", content)},
    )


def refusal(answer: httpx.Response, status: int = 400) -> str:
    """What a refused request says: one sentence for a person, without traces of the server."""
    assert answer.status_code == status, answer.text
    detail = str(answer.json()["detail"])
    assert detail
    assert "Traceback" not in detail
    assert "\n" not in detail
    return detail


def train(person: Person, model_id: str, method: str, **uncertainty: object) -> str:
    """Id of a new training of the model, so that it predicts with `method`."""
    order = training_order(
        model_id, uncertainty_method=method, options={"uncertainty": uncertainty}
    )
    answer = person.client.post("/api/trainings/", json=order)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["training_id"])


def mean_of(person: Person, *model_ids: str) -> str:
    """Id of a new mean model of these."""
    answer = person.client.post(
        "/api/models/",
        json={"type": "MEAN", "name": "Mean", "description": "a mean", "models": list(model_ids)},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["model_id"])


def arrays(model: nn.Module) -> Weights:
    """Every tensor of `model` by name."""
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def tiny_outputs(tensors: Weights, batch: object, mask: object = 1.0) -> Floats:
    """What `model_files.tiny` answers with these tensors, in float64; shape (batch, 2).

    Args:
        mask: What the dropout layer multiplies its eight inputs with.
    """
    named = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    hidden = np.asarray(batch) @ named["0.weight"].T + named["0.bias"]
    spread = np.sqrt(named["1.running_var"] + EPSILON)
    hidden = (hidden - named["1.running_mean"]) / spread * named["1.weight"] + named["1.bias"]
    return np.maximum(hidden, 0) * np.asarray(mask) @ named["4.weight"].T + named["4.bias"]


def tiny_dropout_outputs(tensors: Weights, batch: object) -> Floats:
    """What it answers under each of the 256 equally likely masks; shape (256, batch, 2)."""
    masks = [2.0 * np.array(kept) for kept in itertools.product((0, 1), repeat=8)]
    return np.stack([tiny_outputs(tensors, batch, mask) for mask in masks])


def softmax(outputs: Floats) -> Floats:
    """Of the last dimension."""
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def entropy(probs: Floats) -> Floats:
    """Of the last dimension, in nats; every probability above 0."""
    return np.asarray(-(probs * np.log(probs)).sum(-1))


def assert_summary_of(answer: object, outputs: Floats, *, probabilities: bool) -> None:
    """The answer has the mean and spread of `outputs`, shape (passes, batch, classes)."""
    assert isinstance(answer, dict)
    mean, variance = outputs.mean(0), outputs.var(0, ddof=1)
    expected = {"variance": variance, "std": np.sqrt(variance)}
    if probabilities:
        predictive, within = entropy(mean), entropy(outputs).mean(0)
        expected |= {
            "predictive_entropy": predictive,
            "expected_entropy": within,
            "mutual_info": predictive - within,
        }
    np.testing.assert_allclose(answer["inference"], mean, rtol=1e-5, atol=1e-6)
    assert set(answer["uncertainty"]) == set(expected)
    for name, figures in expected.items():
        np.testing.assert_allclose(
            answer["uncertainty"][name], figures, rtol=1e-4, atol=1e-6, err_msg=name
        )
