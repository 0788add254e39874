"""Clipping against its formula in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from starling_client import clip_update
from starling_client.errors import BadSubmission
from torch import nn


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def distance(model: nn.Module, fixed: dict[str, torch.Tensor]) -> float:
    return math.sqrt(
        sum(
            float((tensor.double() - fixed[name].double()).square().sum())
            for name, tensor in model.state_dict().items()
            if tensor.is_floating_point()
        )
    )


def trained(seed: int, scale: float = 1.0) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model = network(seed)
    fixed = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.randn_like(tensor) * scale)
    return model, fixed


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-2, 1e2))
def test_the_update_keeps_its_direction_and_gets_the_norm(
    seed: int, scale: float, max_norm: float
) -> None:
    model, fixed = trained(seed, scale)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    norm = distance(model, fixed)
    factor = min(1.0, max_norm / norm)

    assert clip_update(model, fixed, max_norm) == pytest.approx(norm)

    assert distance(model, fixed) == pytest.approx(norm * factor, rel=1e-3)
    for name, tensor in model.state_dict().items():
        wanted = fixed[name].double() + (before[name] - fixed[name]).double() * factor
        torch.testing.assert_close(tensor.double(), wanted, rtol=1e-5, atol=1e-5 * scale)


def test_a_small_update_stays_bit_for_bit() -> None:
    model, fixed = trained(1, 1e-3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    clip_update(model, fixed, 10.0)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_buffers_are_bounded_too_and_counters_left_alone() -> None:
    model, fixed = trained(2, 0.0)
    model.state_dict()["1.running_mean"].add_(100.0)
    model.state_dict()["1.num_batches_tracked"].add_(7)
    assert clip_update(model, fixed, 1.0) == pytest.approx(200.0)
    assert distance(model, fixed) == pytest.approx(1.0)
    assert int(model.state_dict()["1.num_batches_tracked"]) == 7


def test_complex_numbers_are_bounded_by_their_moduli() -> None:
    model = nn.ParameterDict({"phase": torch.tensor([3.0 + 4.0j, 0.0j])})
    fixed = {"phase": torch.zeros(2, dtype=torch.complex64)}
    assert clip_update(model, fixed, 1.0) == pytest.approx(5.0)
    torch.testing.assert_close(model["phase"].detach(), torch.tensor([0.6 + 0.8j, 0.0j]))


def test_what_diverged_is_refused_and_left_as_it_is() -> None:
    model, fixed = trained(3)
    model.state_dict()["0.bias"][0] = math.inf
    with pytest.raises(BadSubmission, match="not finite"):
        clip_update(model, fixed, 1.0)
    assert not math.isfinite(float(model.state_dict()["0.bias"][0]))


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_bound_has_to_be_above_nothing(max_norm: float) -> None:
    model, fixed = trained(4)
    with pytest.raises(BadSubmission, match="max_norm"):
        clip_update(model, fixed, max_norm)


def test_a_tensor_that_the_global_model_lacks_is_named() -> None:
    model, _ = trained(5)
    with pytest.raises(KeyError, match=r"0\.weight"):
        clip_update(model, {}, 1.0)
