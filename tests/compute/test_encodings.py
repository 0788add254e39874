"""Tensors in fewer bits: how far from the truth, and what is refused."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from compute.contract import Rejected, TensorEncoding
from compute.encodings import LEVELS, METADATA_KEY, decoded, encoded, quantised
from compute.state_dicts import SLICE_ELEMENTS, StateDict

SMALLEST_NORMAL = 2.0**-126
BF16_LARGEST = 2.0**127

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=6)


def round_trip(state: StateDict, encoding: TensorEncoding) -> StateDict:
    before = {name: tensor.clone() for name, tensor in state.items()}
    tensors, table = encoded(state, encoding)
    assert all(torch.equal(state[name], before[name]) for name in state)
    return decoded(tensors, {METADATA_KEY: table})


@given(hnp.arrays("float32", SHAPES, elements=FLOATS))
def test_bf16_is_off_by_at_most_a_256th_of_each_value(values: object) -> None:
    tensor = torch.as_tensor(values)

    (back,) = round_trip({"w": tensor}, TensorEncoding.BF16).values()

    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    exact, got = tensor.double(), back.double()
    normal = (exact.abs() >= SMALLEST_NORMAL) & (exact.abs() < BF16_LARGEST)
    assert bool(((got - exact).abs()[normal] <= 2.0**-8 * exact.abs()[normal]).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(values=hnp.arrays("float64", SHAPES, elements=st.floats(-1e30, 1e30)))
def test_int8_is_off_by_at_most_half_a_step_of_its_channel(
    dtype: torch.dtype, values: object
) -> None:
    tensor = torch.as_tensor(values).to(dtype)

    (back,) = round_trip({"w": tensor}, TensorEncoding.INT8).values()

    assert (back.dtype, back.shape) == (dtype, tensor.shape)
    channels = tensor.shape[0] if tensor.ndim > 1 else 1
    exact, got = tensor.double().reshape(channels, -1), back.double().reshape(channels, -1)
    low, high = exact.amin(1, keepdim=True), exact.amax(1, keepdim=True)
    half_step = (high - low) / LEVELS / 2
    largest = torch.maximum(low.abs(), high.abs())
    rounding = (torch.finfo(dtype).eps / 2 + 4 * torch.finfo(torch.float64).eps) * largest
    assert bool(((got - exact).abs() <= half_step + rounding).all())


@given(hnp.arrays("float32", SHAPES, elements=FLOATS), st.sampled_from(TensorEncoding))
def test_encoding_what_was_decoded_gives_the_same_values_within_the_same_bound(
    values: object, encoding: TensorEncoding
) -> None:
    once = round_trip({"w": torch.as_tensor(values)}, encoding)["w"]
    twice = round_trip({"w": once}, encoding)["w"]
    if encoding is TensorEncoding.BF16:
        assert torch.equal(once, twice)
    else:
        assert torch.allclose(once, twice, rtol=1e-5, atol=float(once.abs().max()) * 1e-5)


@pytest.mark.parametrize("encoding", list(TensorEncoding), ids=str)
def test_what_is_no_float_or_empty_stays_as_it_is(encoding: TensorEncoding) -> None:
    state = {
        "n": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.float16),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }
    tensors, table = encoded(state, encoding)
    assert json.loads(table) == {}
    assert list(tensors) == list(state)
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_a_constant_channel_comes_back_exactly() -> None:
    tensor = torch.stack([torch.full((5,), 0.1), torch.arange(5.0)])
    back = round_trip({"w": tensor}, TensorEncoding.INT8)["w"]
    assert torch.equal(back[0], tensor[0])


@pytest.mark.parametrize("shape", [(SLICE_ELEMENTS + 7,), (3, SLICE_ELEMENTS // 2 + 1), (4, 0)])
def test_large_tensors_are_encoded_in_tiles_as_in_one(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if not tensor.numel():
        assert torch.equal(round_trip({"w": tensor}, TensorEncoding.INT8)["w"], tensor)
        return
    levels, scale, minimum = quantised(tensor)
    channels = shape[0] if len(shape) > 1 else 1
    rows = tensor.reshape(channels, -1).double()
    whole = ((rows - minimum[:, None]) / scale[:, None]).round().clamp(0, LEVELS)
    assert torch.equal(levels.reshape(channels, -1).double(), whole)
    back = round_trip({"w": tensor}, TensorEncoding.INT8)["w"].reshape(channels, -1)
    assert torch.equal(back, (whole * scale[:, None] + minimum[:, None]).float())


def test_names_of_scales_make_way_for_the_models_own() -> None:
    state = {"w": torch.randn(4), "w.scale": torch.randn(4), "w.minimum": torch.randn(2)}
    back = round_trip(state, TensorEncoding.INT8)
    assert list(back) == list(state)


def test_a_file_without_the_metadata_is_taken_as_it_is() -> None:
    state = {"w": torch.ones(2, dtype=torch.bfloat16)}
    assert decoded(state, {"format": "pt"}) is state


INT8 = {"encoding": "int8", "dtype": "float32", "scale": "s", "minimum": "m"}
BF16 = {"encoding": "bf16", "dtype": "float32"}
TENSORS: dict[str, Tensor] = {
    "q": torch.zeros(2, 3, dtype=torch.uint8),
    "b": torch.zeros(2, dtype=torch.bfloat16),
    "s": torch.ones(2),
    "m": torch.zeros(2),
    "one": torch.ones(1),
    "three": torch.ones(3),
    "halves": torch.ones(2, dtype=torch.float16),
}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        pytest.param("[]", "object", id="a-list"),
        pytest.param("{", "truncated", id="cut-off"),
        pytest.param({"q": {"encoding": "int4"}}, "encoding", id="unknown-encoding"),
        pytest.param({"q": {**INT8, "zero": 1}}, "zero", id="unknown-field"),
        pytest.param({"b": {**BF16, "dtype": "float16"}}, "float16", id="unknown-dtype"),
        pytest.param({"x": BF16}, "no tensor x", id="missing-tensor"),
        pytest.param({"q": BF16}, "expected bfloat16", id="not-bf16"),
        pytest.param({"b": INT8}, "expected uint8", id="not-int8"),
        pytest.param({"q": {**INT8, "scale": "x"}}, "no tensor x", id="missing-scale"),
        pytest.param({"q": {**INT8, "scale": "three"}}, "1 or 2", id="scale-of-another-size"),
        pytest.param({"q": {**INT8, "scale": "halves"}}, "float32", id="scale-of-halves"),
        pytest.param({"q": {**INT8, "scale": "one"}}, "differ", id="sizes-differ"),
        pytest.param({"q": {**INT8, "scale": "q"}}, "itself", id="decodes-itself"),
    ],
)
def test_metadata_that_does_not_fit_is_refused_with_a_reason(
    table: str | dict[str, object], says: str
) -> None:
    text = table if isinstance(table, str) else json.dumps(table)
    with pytest.raises(Rejected) as caught:
        decoded(dict(TENSORS), {METADATA_KEY: text})
    assert says in caught.value.detail
