"""The proximal term against its formula."""

import pytest
import torch
from starling_client import proximal
from torch import nn


def test_the_term_and_its_gradient_are_those_of_the_paper() -> None:
    model = nn.Linear(3, 2).double()
    fixed = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}

    proximal(model, fixed, 0.3).backward()

    distance = sum(
        float((parameter.detach() - fixed[name]).square().sum())
        for name, parameter in model.named_parameters()
    )
    assert proximal(model, fixed, 0.3).item() == pytest.approx(0.15 * distance)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 0.3 * (parameter.detach() - fixed[name]))


def test_without_a_weight_it_is_nothing_and_asks_for_nothing() -> None:
    assert proximal(nn.Linear(3, 2), {}, 0.0).item() == 0.0


def test_frozen_parameters_do_not_count() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(requires_grad=False)
    fixed = {"weight": model.weight.detach() + 1.0, "bias": model.bias + 100.0}
    assert proximal(model, fixed, 1.0).item() == pytest.approx(3.0)


def test_a_parameter_that_the_global_model_lacks_is_named() -> None:
    with pytest.raises(KeyError, match="weight"):
        proximal(nn.Linear(3, 2), {}, 1.0)
