"""The fused pass: slices and groups change no bit, and what it measures is exact."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compute import kernels, state_dicts
from compute.contract import AggregationOptions
from compute.folding import HostFold, Weighted
from compute.state_dicts import StateDict, squared_distance
from compute.strategies.fedavg import FedAvg

CPU = torch.device("cpu")


def model(seed: int) -> StateDict:
    """Tensors of every kind: wide and narrow, transposed, sharing memory, without an element."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(7, 5, generator=generator)
    return {
        "plain": torch.randn(41, 13, generator=generator) * 10.0**seed,
        "shared": shared,
        "shared again": shared,
        "part": shared[1:3],
        "transposed": torch.randn(6, 9, generator=generator).t(),
        "strided": torch.randn(20, generator=generator)[::3],
        "half": torch.randn(17, generator=generator).half(),
        "bfloat16": torch.randn(17, generator=generator).bfloat16(),
        "double": torch.randn(17, generator=generator, dtype=torch.float64),
        "complex": torch.randn(5, generator=generator, dtype=torch.complex64),
        "count": torch.randint(-(2**40), 2**40, (11,), generator=generator),
        "byte": torch.randint(0, 255, (3,), generator=generator, dtype=torch.uint8),
        "flag": torch.rand(9, generator=generator) > 0.5,
        "scalar": torch.randn((), generator=generator),
        "empty": torch.zeros(0, 3),
    }


UPDATES = [Weighted(model(seed), 3 * seed**9 + 1) for seed in range(1, 8)]
BASE = model(0)


def one_by_one(accumulate: str) -> StateDict:
    strategy = FedAvg(AggregationOptions(accumulate=accumulate))
    state = strategy.init(BASE, CPU)
    for update in UPDATES:
        strategy.fold_(state, update.tensors, update.weight)
    return strategy.finish(state, BASE)


def bits(state: StateDict) -> dict[str, tuple[str, list[int], bytes]]:
    return {
        name: (
            str(tensor.dtype),
            list(tensor.shape),
            bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()),
        )
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("accumulate", ["float64", "float32"])
@given(data=st.data())
def test_groups_and_slices_of_any_size_give_the_same_bits(
    accumulate: str, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_dicts, "ELEMENTS_PER_THREAD", data.draw(st.integers(1, 600)))
        patch.setattr(kernels, "TILE_ELEMENTS", data.draw(st.integers(1, 600)))
        strategy = FedAvg(AggregationOptions(accumulate=accumulate))
        state = strategy.init(BASE, CPU)
        fold = HostFold(strategy, state, BASE)
        waiting = list(UPDATES)
        while waiting:
            together = data.draw(st.integers(1, len(waiting)))
            fold.fold_measured_(waiting[:together])
            waiting = waiting[together:]
        found = strategy.finish(state, BASE)
    assert bits(found) == bits(one_by_one(accumulate))


def test_distances_are_exact() -> None:
    strategy = FedAvg(AggregationOptions())
    found = HostFold(strategy, strategy.init(BASE, CPU), BASE).fold_measured_(UPDATES)
    for square, update in zip(found, UPDATES, strict=True):
        exact = math.fsum(
            (float(one) - float(other)) ** 2
            for name, tensor in update.tensors.items()
            if tensor.is_floating_point()
            for one, other in zip(
                tensor.double().flatten().tolist(),
                BASE[name].double().flatten().tolist(),
                strict=True,
            )
        )
        assert square == pytest.approx(exact, rel=1e-14)
        assert square == pytest.approx(squared_distance(update.tensors, BASE), rel=1e-14)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["plain", "half", "bfloat16", "double", "scalar"])
def test_what_is_not_finite_shows_in_the_distance(wrong: float, name: str) -> None:
    tensors = {key: tensor.clone() for key, tensor in model(1).items()}
    tensors[name].reshape(-1)[-1] = wrong
    strategy = FedAvg(AggregationOptions())
    fold = HostFold(strategy, strategy.init(BASE, CPU), BASE)
    (square,) = fold.fold_measured_([Weighted(tensors, 1)])
    assert not math.isfinite(square)


def test_updates_are_not_modified() -> None:
    update = Weighted(model(3), 5)
    before = bits(update.tensors)
    strategy = FedAvg(AggregationOptions(accumulate="float32"))
    HostFold(strategy, strategy.init(BASE, CPU), BASE).fold_measured_([update, update])
    assert bits(update.tensors) == before


def test_the_mean_lies_in_the_memory_of_the_sum() -> None:
    base = {"x": torch.zeros(1000, 7)}
    strategy = FedAvg(AggregationOptions())
    state = strategy.init(base, CPU)
    strategy.fold_(state, {"x": torch.ones(1000, 7)}, 3)
    address = state.sums["x"].data_ptr()
    assert strategy.finish(state, base)["x"].data_ptr() == address
