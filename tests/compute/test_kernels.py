"""The compiled pass against torch's separate operations."""

import errno

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compute import kernels
from compute.kernels import TiledSums, is_addable

DTYPES = [torch.float64, torch.float32]


def vectors(count: int, length: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(-44, 30, max(length, 1), dtype=torch.float64)[:length]
    return [
        (torch.randn(length, generator=generator, dtype=torch.float64) * scales).float()
        for _ in range(count)
    ]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(
    length=st.integers(0, 700),
    weights=st.lists(st.integers(1, 2**53), min_size=1, max_size=4),
    tile=st.integers(1, 300),
    threads=st.integers(1, 4),
)
def test_sums_have_the_bits_of_separate_operations(
    dtype: torch.dtype, length: int, weights: list[int], tile: int, threads: int
) -> None:
    base, *updates = vectors(1 + len(weights), length, seed=len(weights))
    expected = torch.ones(length, dtype=dtype)
    for update, weight in zip(updates, weights, strict=True):
        expected.add_(update.to(dtype, copy=True).mul_(weight))

    total = torch.ones(length, dtype=dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "TILE_ELEMENTS", tile)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        cuts = [slice(length // 3), slice(length // 3, None)]
        sums = TiledSums([total[cut] for cut in cuts], [base[cut] for cut in cuts])
        squares = sums.add_([[update[cut] for cut in cuts] for update in updates], weights)

    assert total.numpy().tobytes() == expected.numpy().tobytes()
    for update, found in zip(updates, squares, strict=True):
        difference = update.double() - base.double()
        assert sum(found) == pytest.approx(float(difference @ difference), rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_shows_in_the_squares(dtype: torch.dtype, bad: float) -> None:
    base, update = vectors(2, 1000, seed=0)
    update[-1] = bad
    sums = TiledSums([torch.zeros(1000, dtype=dtype)], [base])
    ((*_, last),) = sums.add_([[update]], [1])
    assert not np.isfinite(last)


def test_sums_of_both_dtypes_are_added_to_together() -> None:
    base, update = vectors(2, 40, seed=1)
    wide, narrow = torch.ones(40, dtype=torch.float64), torch.ones(40)
    (squares,) = TiledSums([narrow, wide], [base, base]).add_([[update, update]], [3])
    assert torch.equal(wide, 1 + update.double() * 3)
    assert torch.equal(narrow, 1 + update * 3)
    assert sum(squares) == pytest.approx(
        2 * float((update.double() - base.double()).square().sum())
    )


def test_a_tensor_in_another_order_of_dimensions_is_added_as_it_reads() -> None:
    transposed = torch.arange(6.0).reshape(2, 3).t()
    total = torch.zeros(6, dtype=torch.float64)
    TiledSums([total], [torch.zeros(6)]).add_([[transposed]], [2])
    assert total.tolist() == [0.0, 6.0, 2.0, 8.0, 4.0, 10.0]


def test_sums_are_of_flat_float32() -> None:
    total, plain = torch.zeros(4, dtype=torch.float64), torch.zeros(4)
    assert is_addable(total, plain)
    assert not is_addable(total, plain.double())
    assert not is_addable(total, torch.zeros(8)[::2])
    assert not is_addable(total, torch.zeros(3))
    assert not is_addable(torch.zeros(8, dtype=torch.float64)[::2], plain)
    assert not is_addable(total.to(torch.complex128), plain)


def test_numbers_at_odd_addresses_are_added() -> None:
    content = torch.zeros(17, dtype=torch.uint8)
    odd = torch.frombuffer(content.numpy().data, dtype=torch.float32, count=4, offset=1)
    odd.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert odd.data_ptr() % 4
    total = torch.zeros(4, dtype=torch.float64)
    TiledSums([total], [torch.zeros(4)]).add_([[odd]], [2])
    assert total.tolist() == [2.0, 4.0, 6.0, 8.0]


def test_every_update_has_a_weight() -> None:
    total = torch.zeros(4, dtype=torch.float64)
    for weights in ([], [1, 2]):
        with pytest.raises(ValueError, match="zip"):
            TiledSums([total], [torch.zeros(4)]).add_([[torch.ones(4)]], weights)
    assert not total.any()


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(3), torch.zeros(5), torch.zeros(4).half(), torch.zeros(4, device="meta")],
    ids=["short", "long", "half", "elsewhere"],
)
def test_what_is_not_of_a_sums_length_and_dtype_is_not_read(wrong: torch.Tensor) -> None:
    total = torch.zeros(4, dtype=torch.float64)
    with pytest.raises(ValueError, match="base's lengths and dtype"):
        TiledSums([total], [torch.zeros(4)]).add_([[torch.ones(4)], [wrong]], [1, 1])
    assert not total.any()


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("no locator"),
        EOFError("Ran out of input"),
    ],
)
def test_machine_code_that_cannot_be_kept_is_made_anew(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr("numba.core.caching.Cache.load_overload", lambda *_: None)
    monkeypatch.setattr("numba.core.caching.Cache.save_overload", fail)
    made = kernels._compiled(kernels._add_measured, [kernels._signature(numba.float64)], set())
    total, update, base = np.ones(3), np.full(3, 2, np.float32), np.ones(3, np.float32)
    for vector in (update, base):
        vector.flags.writeable = False
    assert made(total, update, base, 5.0) == 3.0
    assert total.tolist() == [11.0, 11.0, 11.0]
