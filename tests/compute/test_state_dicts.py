"""Compatibility, finiteness, distances and samples of state dicts."""

import pytest
import torch
from torch import Tensor

from compute.contract import Rejected, RejectionReason
from compute.state_dicts import (
    SLICE_ELEMENTS,
    CoordinateSample,
    is_finite,
    require_compatible,
    slices,
    squared_distance,
)

BASE = {"a": torch.zeros(2, 3), "b": torch.zeros(4), "n": torch.tensor(0)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"a": None}, "Tensor a is missing."),
        ({"a": torch.zeros(3, 2)}, "Tensor a has shape [3, 2], expected [2, 3]."),
        ({"b": torch.zeros(4).double()}, "Tensor b has dtype float64, expected float32."),
        ({"c": torch.zeros(1)}, "Tensor c is not in the model."),
        ({"b": None, "a": torch.zeros(1)}, "Tensor a has shape [1], expected [2, 3]."),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(
    change: dict[str, Tensor | None], says: str
) -> None:
    changed = {**BASE, **change}
    update = {name: tensor for name, tensor in changed.items() if tensor is not None}
    with pytest.raises(Rejected) as caught:
        require_compatible(update, BASE)
    assert caught.value.reason is RejectionReason.INCOMPATIBLE
    assert caught.value.detail == says


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("position", [0, SLICE_ELEMENTS - 1, SLICE_ELEMENTS, SLICE_ELEMENTS + 4])
def test_one_number_that_is_not_finite_is_found(
    number: float, dtype: torch.dtype, position: int
) -> None:
    tensor = torch.zeros(SLICE_ELEMENTS + 5, dtype=dtype)
    assert is_finite(tensor)
    tensor[position] = number
    assert not is_finite(tensor)


def test_complex_and_integer_and_empty_tensors_are_looked_at_too() -> None:
    assert is_finite(torch.tensor([2**62]))
    assert is_finite(torch.zeros(0))
    assert is_finite(torch.tensor([1 + 2j]))
    assert not is_finite(torch.tensor([complex(0, float("nan"))]))


def test_slices_cover_a_tensor_once_and_in_order() -> None:
    tensor = torch.arange(2 * SLICE_ELEMENTS + 3).reshape(1, -1)
    pieces = list(slices(tensor))
    assert [len(piece) for piece in pieces] == [SLICE_ELEMENTS, SLICE_ELEMENTS, 3]
    assert torch.equal(torch.cat(pieces), tensor.reshape(-1))
    assert list(slices(torch.zeros(0))) == []


def test_the_distance_is_that_of_all_floating_tensors() -> None:
    left = {**BASE, "a": torch.full((2, 3), 2.0), "b": torch.full((4,), 0.5), "n": torch.tensor(9)}
    assert squared_distance(left, BASE) == 6 * 4 + 4 * 0.25


def test_a_small_model_is_sampled_whole() -> None:
    left = {name: tensor + 1 for name, tensor in BASE.items()}
    sample = CoordinateSample(BASE, 10)
    assert (sample.values(left) - sample.values(BASE)).tolist() == [1.0] * 10


def test_a_large_model_is_sampled_the_same_way_each_time() -> None:
    base = {"a": torch.zeros(70_000), "b": torch.zeros(30, 1000)}
    left = {"a": torch.arange(70_000.0), "b": torch.arange(70_000.0, 100_000.0).reshape(30, 1000)}
    first = CoordinateSample(base, 4096).values(left)
    assert torch.equal(first, CoordinateSample(base, 4096).values(left))
    assert not torch.equal(first, CoordinateSample(base, 4096, seed=1).values(left))
    assert 3900 < len(first) <= 4096
    assert first.min() < 10_000
    assert first.max() > 90_000


def test_a_model_without_floating_tensors_has_an_empty_sample() -> None:
    base = {"n": torch.tensor([1, 2])}
    assert len(CoordinateSample(base, 10).values(base)) == 0
