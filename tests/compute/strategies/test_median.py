"""The coordinate-wise median against numpy's, in float64."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compute import kernels
from compute.contract import AggregationOptions
from compute.strategies import make_strategy
from compute.strategies.median import Median, median_network

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


def medians(rows: list[Tensor]) -> Tensor:
    return Median(AggregationOptions()).gather(rows, [1] * len(rows))


def rows_of(
    values: st.SearchStrategy[float], *, most: int = 17
) -> st.SearchStrategy[list[list[float]]]:
    """One to `most` rows of one length, which may be zero."""
    return st.integers(0, 5).flatmap(
        lambda length: st.lists(
            st.lists(values, min_size=length, max_size=length), min_size=1, max_size=most
        )
    )


def reference(rows: list[list[float]]) -> npt.NDArray[np.float64]:
    """The middle one or the mean of the middle two, by sorting."""
    ordered = np.sort(np.array(rows, dtype=np.float64), axis=0)
    middle = ordered[[(len(rows) - 1) // 2, len(rows) // 2]]
    mean: npt.NDArray[np.float64] = (middle * 0.5).sum(axis=0)
    return mean


@given(rows_of(numbers))
def test_it_is_the_middle_of_the_sorted_updates(rows: list[list[float]]) -> None:
    found = medians([torch.tensor(row, dtype=torch.float32) for row in rows])
    assert np.array_equal(found.numpy(), reference(rows).astype(np.float32))


@pytest.mark.parametrize("count", [3, 4, 11, 50])
def test_it_has_the_same_bits_by_torchs_own_operations(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(count)
    # More columns than are sorted together, and no multiple of them; ties, too.
    rows = [torch.randn(300, generator=generator).mul(4).round().div(4) for _ in range(count)]
    compiled = medians(rows)
    monkeypatch.setattr(kernels, "are_sortable", lambda _: False)
    assert compiled.numpy().tobytes() == medians(rows).numpy().tobytes()


@given(rows_of(numbers), st.randoms(use_true_random=False))
def test_the_order_of_updates_changes_no_bit(rows: list[list[float]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (
        medians([torch.tensor(row, dtype=torch.float32) for row in given_rows])
        for given_rows in (rows, shuffled)
    )
    assert one.numpy().tobytes() == other.numpy().tobytes()


@given(rows_of(numbers))
def test_given_updates_are_not_modified(rows: list[list[float]]) -> None:
    tensors = [torch.tensor(row, dtype=torch.float32) for row in rows]
    medians(tensors)
    assert all(
        torch.equal(tensor, torch.tensor(row, dtype=torch.float32))
        for tensor, row in zip(tensors, rows, strict=True)
    )


@given(rows_of(st.integers(-(2**40), 2**40).map(float)))
def test_integers_are_rounded_half_to_even(rows: list[list[float]]) -> None:
    found = medians([torch.tensor(row, dtype=torch.int64) for row in rows])
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy(), np.rint(reference(rows)).astype(np.int64))


def test_of_booleans_the_majority_wins_and_a_tie_is_false() -> None:
    rows = [torch.tensor(row) for row in ([True, True, False], [True, False, False])]
    assert medians([*rows, torch.tensor([True, True, False])]).tolist() == [True, True, False]
    assert medians(rows).tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
@pytest.mark.parametrize("count", [1, 4, 5])
def test_every_kind_of_number_has_a_median(dtype: torch.dtype, count: int) -> None:
    torch.manual_seed(count)
    rows = [torch.randn(33, dtype=dtype) for _ in range(count)]
    parts = [torch.view_as_real(row) if row.is_complex() else row for row in rows]
    expected = reference([part.reshape(-1).tolist() for part in parts])
    found = medians(rows)
    assert found.dtype == dtype
    flat = (torch.view_as_real(found) if found.is_complex() else found).reshape(-1)
    assert torch.equal(flat, torch.from_numpy(expected).to(flat.dtype))


def test_the_largest_numbers_do_not_overflow() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        largest = torch.tensor([torch.finfo(dtype).max])
        assert torch.equal(medians([largest.to(dtype)] * 2), largest.to(dtype))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_zero_is_positive(count: int) -> None:
    rows = [torch.tensor([-0.0 if row % 2 == 0 else 0.0]) for row in range(count)]
    assert not bool(torch.signbit(medians(rows)).any())


@pytest.mark.parametrize("count", [*range(1, 11), 12])
def test_the_network_brings_every_pattern_of_zeros_and_ones_to_its_middle(count: int) -> None:
    # A network that is right for zeros and ones is right for everything (Knuth, 5.3.4, theorem Z).
    patterns = (torch.arange(2**count)[None, :] >> torch.arange(count)[:, None]) & 1
    rows = list(patterns.unbind())
    for low, high, keep_low, keep_high in median_network(count):
        smaller, larger = torch.minimum(rows[low], rows[high]), torch.maximum(rows[low], rows[high])
        rows[low] = smaller if keep_low else torch.full_like(smaller, -1)
        rows[high] = larger if keep_high else torch.full_like(larger, -1)
    ones = patterns.sum(dim=0)
    assert torch.equal(rows[(count - 1) // 2], (ones > count // 2).long())
    assert torch.equal(rows[count // 2], (ones >= count - count // 2).long())


def test_half_of_the_participants_may_be_wrong() -> None:
    honest = [torch.tensor([1.0, -1.0]) + 0.01 * step for step in range(-2, 3)]
    wrong = [torch.tensor([1e30, -1e30])] * 4
    assert torch.allclose(medians([*honest, *wrong]), torch.tensor([1.0, -1.0]), atol=0.03)


def test_it_is_known_by_its_name() -> None:
    assert make_strategy("Median", AggregationOptions()).kind == "gathering"
