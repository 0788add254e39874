"""The participant of the round benchmark: what it sends back is the model, slightly changed."""

import io
import math
import zipfile

import numpy as np
import pytest
from safetensors.torch import load, save

from benchmarks.peer_scripts.layers import first_model, shapes, step
from benchmarks.round import Layers
from benchmarks.round_participant import change_archive, change_safetensors, update_form
from tests.model_files import torchscript, weights

STEP = step(2)


def random_layers() -> Layers:
    generator = np.random.default_rng(0)
    shapes = {"first": (3, 5), "second.bias": (7,), "third.weight": (2, 3, 4)}
    return Layers(
        {name: generator.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    )


def test_every_number_of_an_archive_moves_and_it_still_loads() -> None:
    content = bytearray(torchscript(random_layers()))
    before = weights(bytes(content))
    change_archive(content, STEP)
    after = weights(bytes(content))
    assert list(after) == ["first", "second_bias", "third_weight"]
    for name, layer in before.items():
        np.testing.assert_array_equal(after[name], layer + STEP)


def test_an_archive_passes_the_checks_of_its_format() -> None:
    content = bytearray(torchscript(random_layers()))
    change_archive(content, STEP)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None


def test_every_number_of_a_state_dict_moves() -> None:
    state = {name: layer.detach() for name, layer in random_layers().named_parameters()}
    content = bytearray(save(state))
    change_safetensors(content, STEP)
    for name, layer in load(bytes(content)).items():
        np.testing.assert_array_equal(layer.numpy(), state[name].numpy() + STEP)


def test_a_form_ends_with_its_boundary() -> None:
    body = b"".join(update_form(bytearray(b"file"), 3))
    assert b'name="round"\r\n\r\n3\r\n' in body
    assert body.endswith(b"file\r\n--5tarling5tarling5tarling--\r\n")


@pytest.mark.parametrize("parameters", [20_234, 1_200_000, 1_200_001, 25_000_000, 50_000_000])
def test_layers_have_as_many_numbers_as_asked(parameters: int) -> None:
    layers = shapes(parameters)
    assert sum(math.prod(shape) for shape in layers.values()) == parameters
    assert all(math.prod(shape) > 0 for shape in layers.values())


def test_no_two_participants_send_the_same_bytes_nor_a_model_any_twice() -> None:
    assert len({step(place) for place in range(1000)}) == 1000
    layer = first_model(1_200_000)["dense.weight"]
    assert len(np.unique(layer)) > 0.9 * layer.size


def test_too_few_numbers_for_the_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        shapes(20_000)
