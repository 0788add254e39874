"""Federated averaging against an independent reference in exact arithmetic."""

import math
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compute.contract import AggregationOptions
from compute.strategies import make_strategy, strategy_names
from compute.strategies.registry import register

CPU = torch.device("cpu")

weights = st.integers(min_value=1, max_value=10**6)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


def rounds(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[list[tuple[int, list[float]]]]:
    """Between one and twelve updates of a few numbers, each with its weight."""
    return st.integers(1, 5).flatmap(
        lambda length: st.lists(
            st.tuples(weights, st.lists(numbers, min_size=length, max_size=length)),
            min_size=1,
            max_size=12,
        )
    )


def average(
    updates: list[tuple[int, Tensor]], *, strategy: str = "FedAvg", accumulate: str = "float64"
) -> Tensor:
    """What the strategy makes of them."""
    chosen = make_strategy(strategy, AggregationOptions(accumulate=accumulate))
    base = {"x": torch.zeros_like(updates[0][1])}
    state = chosen.init(base, CPU)
    for weight, tensor in updates:
        chosen.fold_(state, {"x": tensor}, weight)
    return chosen.finish(state, base)["x"]


def exact_mean(updates: list[tuple[int, list[float]]]) -> list[Fraction]:
    """The weighted mean in rational numbers."""
    total = sum(weight for weight, _ in updates)
    columns = zip(*(numbers for _, numbers in updates), strict=True)
    return [
        sum(
            (
                weight * Fraction(number)
                for (weight, _), number in zip(updates, column, strict=True)
            ),
            Fraction(0),
        )
        / total
        for column in columns
    ]


def as_float32(updates: list[tuple[int, list[float]]]) -> list[tuple[int, Tensor]]:
    return [(weight, torch.tensor(numbers, dtype=torch.float32)) for weight, numbers in updates]


def ulps(found: Tensor, exact: list[Fraction]) -> npt.NDArray[np.float64]:
    """Distance to the exact values in units of float32's spacing there, largest term included."""
    wanted = np.array([float(value) for value in exact])
    spacing = np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)
    return np.abs(found.double().numpy() - wanted) / spacing


@given(rounds(floats), st.sampled_from(["FedAvg", "FedProx"]))
def test_a_mean_is_within_one_ulp_of_the_exact_one(
    updates: list[tuple[int, list[float]]], strategy: str
) -> None:
    exact = exact_mean(updates)
    found = average(as_float32(updates), strategy=strategy)
    largest = max(abs(number) for _, numbers in updates for number in numbers)
    # Where terms cancel, what is left is as exact as float64 keeps the largest of them.
    slack = (
        largest
        * 2.0**-45
        / np.maximum(
            np.spacing(np.abs(np.array([float(v) for v in exact])).astype(np.float32)), 1e-45
        )
    )
    assert np.all(ulps(found, exact) <= 1.0 + slack)


@given(rounds(floats), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_at_most_one_ulp(
    updates: list[tuple[int, list[float]]], random: object
) -> None:
    shuffled = list(updates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = average(as_float32(updates)), average(as_float32(shuffled))
    largest = max(abs(number) for _, numbers in updates for number in numbers)
    tolerance = torch.from_numpy(np.spacing(one.abs().numpy())).double() + largest * 2.0**-45
    assert bool(((one.double() - other.double()).abs() <= tolerance).all())


@given(rounds(floats), st.integers(2, 1000))
def test_scaling_all_weights_changes_nothing_beyond_one_ulp(
    updates: list[tuple[int, list[float]]], factor: int
) -> None:
    scaled = [(weight * factor, numbers) for weight, numbers in updates]
    one, other = average(as_float32(updates)), average(as_float32(scaled))
    largest = max(abs(number) for _, numbers in updates for number in numbers)
    tolerance = torch.from_numpy(np.spacing(one.abs().numpy())).double() + largest * 2.0**-45
    assert bool(((one.double() - other.double()).abs() <= tolerance).all())


@given(st.lists(floats, min_size=1, max_size=9), st.lists(weights, min_size=1, max_size=9))
def test_the_mean_of_equal_updates_is_that_update(numbers: list[float], sizes: list[int]) -> None:
    tensor = torch.tensor(numbers, dtype=torch.float32)
    assert torch.equal(average([(size, tensor) for size in sizes]), tensor)


@given(rounds(st.integers(-(2**31), 2**31).map(float)))
def test_integers_are_rounded_half_to_even(updates: list[tuple[int, list[float]]]) -> None:
    tensors = [(weight, torch.tensor([int(n) for n in numbers])) for weight, numbers in updates]
    found = average(tensors)
    assert found.dtype is torch.int64
    assert found.tolist() == [round(value) for value in exact_mean(updates)]


def test_booleans_are_the_majoritys_and_false_at_a_tie() -> None:
    yes, no = torch.tensor([True, True]), torch.tensor([True, False])
    assert average([(2, yes), (1, no)]).tolist() == [True, True]
    assert average([(1, yes), (1, no)]).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_other_dtypes_are_kept(dtype: torch.dtype) -> None:
    found = average([(1, torch.ones(3, dtype=dtype)), (3, torch.zeros(3, dtype=dtype))])
    assert found.dtype is dtype
    assert found.tolist() == [0.25] * 3


@settings(max_examples=25)
@given(rounds(floats))
def test_float32_accumulation_is_close(updates: list[tuple[int, list[float]]]) -> None:
    found = average(as_float32(updates), accumulate="float32")
    largest = max(abs(number) for _, numbers in updates for number in numbers)
    for value, exact in zip(found.tolist(), exact_mean(updates), strict=True):
        assert math.isclose(value, float(exact), rel_tol=1e-5, abs_tol=largest * 1e-5)


def test_updates_and_base_are_not_modified() -> None:
    base, update = {"x": torch.ones(3)}, {"x": torch.full((3,), 2.0)}
    strategy = make_strategy("FedAvg", AggregationOptions())
    state = strategy.init(base, CPU)
    strategy.fold_(state, update, 5)
    strategy.finish(state, base)
    assert base["x"].tolist() == [1.0] * 3
    assert update["x"].tolist() == [2.0] * 3


def test_tensors_longer_than_a_slice_are_averaged_whole() -> None:
    tensor = torch.arange(2**20 + 7.0)
    assert torch.equal(average([(3, tensor), (1, tensor)]), tensor)


def test_a_round_without_updates_has_no_mean() -> None:
    strategy = make_strategy("FedAvg", AggregationOptions())
    base = {"x": torch.zeros(1)}
    with pytest.raises(ValueError, match="No update"):
        strategy.finish(strategy.init(base, CPU), base)


def test_an_unknown_dtype_to_accumulate_in_is_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        make_strategy("FedAvg", AggregationOptions(accumulate="float8"))


def test_strategies_are_found_by_name_and_a_name_is_taken_once() -> None:
    assert {"FedAvg", "FedProx"} <= set(strategy_names())
    with pytest.raises(ValueError, match="there are FedAvg"):
        make_strategy("FedMagic", AggregationOptions())
    with pytest.raises(ValueError, match="registered twice"):
        register("FedAvg")(type(make_strategy("FedAvg", AggregationOptions())))


SUMS = """
import hashlib, sys
import numpy, torch
from compute.contract import AggregationOptions
from compute.strategies import make_strategy

for dtype, accumulate in [
    *[(torch.float32, "float64"), (torch.float64, "float64"), (torch.float32, "float32")],
    *[(torch.float16, "float64"), (torch.bfloat16, "float32"), (torch.int64, "float64")],
    (torch.complex64, "float64"),
]:
    strategy = make_strategy("FedAvg", AggregationOptions(accumulate=accumulate))
    random = numpy.random.default_rng(0)
    updates = [torch.from_numpy(1e3 * random.standard_normal(200_003)).to(dtype) for _ in range(4)]
    state = strategy.init({"x": updates[0]}, torch.device(sys.argv[1]))
    for number, update in enumerate(updates):
        strategy.fold_(state, {"x": update}, 37 * number + 3)
    mean = strategy.finish(state, {"x": updates[0]})["x"]
    print(dtype, accumulate, hashlib.sha256(mean.view(torch.uint8).numpy().tobytes()).hexdigest())
"""


def digests_of_sums(*, device: str = "cpu", threads: int = 1, capability: str = "avx2") -> str:
    """What a process of its own computes, told how many threads and which instructions to use."""
    ended = subprocess.run(
        [sys.executable, "-c", SUMS, device],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "ATEN_CPU_CAPABILITY": capability},
    )
    return ended.stdout


def test_threads_and_processors_make_no_difference_to_a_bit() -> None:
    sums = digests_of_sums()

    assert len(set(sums.splitlines())) == 7
    assert digests_of_sums(threads=3) == sums
    # Multiplies and adds in two instructions, where others have one that rounds once.
    assert digests_of_sums(capability="default") == sums
    if torch.cuda.is_available():
        assert digests_of_sums(device="cuda") == sums
