"""Which models may be given the rows of several requests at once."""

import io
import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compute.contract import UncertaintyMethod
from compute.uncertainty import Sampling, find_method, row_independence
from compute.uncertainty.row_independence import treats_rows_alone
from tests.model_files import tiny, torchscript

ROW = torch.Size([3])


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model does is the question here, not how fast a busy machine compiles it."""
    monkeypatch.setattr(row_independence, "LONGEST_PASS_SECONDS", math.inf)


class BatchMean(nn.Module):
    """Its outputs depend on the neighbours."""

    def forward(self, batch: Tensor) -> Tensor:
        return batch - batch.mean(0)


class MeanOfMany(nn.Module):
    """The same, only when there are neighbours."""

    def forward(self, batch: Tensor) -> Tensor:
        if batch.shape[0] > 1:
            return batch / batch.sum()
        return batch


class Conditional(nn.Module):
    """What it does with all rows depends on the value of one."""

    def forward(self, batch: Tensor) -> Tensor:
        if bool(batch.sum() > 1000):
            return batch.flip([0])
        return batch * 2


class Remembering(nn.Module):
    """Keeps what it saw."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, batch: Tensor) -> Tensor:
        self.seen = self.seen + 1e-12 * batch[0]
        return batch * 2


class Writing(nn.Module):
    """Changes what it keeps in place."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, batch: Tensor) -> Tensor:
        self.seen.add_(1e-12)
        return batch * 2


class OneRow(nn.Module):
    """Takes one input without a batch dimension."""

    def forward(self, row: Tensor) -> Tensor:
        return row.reshape(1, -1)


class DropConnect(nn.Module):
    """Its mask is of the weights, one for all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.dropout = nn.Dropout(0.5)

    def forward(self, batch: Tensor) -> Tensor:
        return nn.functional.linear(batch, self.dropout(self.weight))


class SharedMask(nn.Module):
    """Draws one mask for all rows, of their own first one."""

    def forward(self, batch: Tensor) -> Tensor:
        mask = nn.functional.dropout(torch.ones_like(batch[:1]), 0.5, self.training)
        return batch * mask


class Looping(nn.Module):
    """A loop that carries the rows along."""

    def forward(self, batch: Tensor) -> Tensor:
        for _ in range(3):
            batch = nn.functional.dropout(batch, 0.5, self.training) + 1
        return batch


def scripted(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loaded: nn.Module = torch.jit.load(io.BytesIO(torchscript(model)))
    return loaded.eval()


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize(
    "model",
    [tiny().eval(), scripted(tiny()), scripted(Looping())],
    ids=["layers", "scripted", "loop"],
)
def test_layers_that_look_at_one_row_treat_it_alone(model: nn.Module, stochastic: bool) -> None:
    assert treats_rows_alone(model, ROW, torch.float32, stochastic=stochastic)


@pytest.mark.parametrize(
    "model",
    [
        BatchMean(),
        MeanOfMany(),
        Conditional(),
        Remembering(),
        Writing(),
        OneRow(),
        nn.BatchNorm1d(3, track_running_stats=False),
    ],
    ids=["mean", "many", "conditional", "remembering", "writing", "one row", "normalisation"],
)
def test_a_model_whose_rows_touch_each_other_is_found_out(model: nn.Module) -> None:
    assert not treats_rows_alone(scripted(model), ROW, torch.float32, stochastic=False)


def test_attention_over_the_first_dimension_is_found_out() -> None:
    model = nn.TransformerEncoderLayer(4, 1, 4, batch_first=False).eval()
    assert not treats_rows_alone(model, torch.Size([2, 4]), torch.float32, stochastic=False)
    model = nn.TransformerEncoderLayer(4, 1, 4, batch_first=True).eval()
    assert treats_rows_alone(model, torch.Size([2, 4]), torch.float32, stochastic=True)


@pytest.mark.parametrize("model", [DropConnect(), SharedMask()], ids=["weights", "mask"])
def test_a_mask_for_all_rows_is_no_reason_to_keep_them_apart_without_dropout(
    model: nn.Module,
) -> None:
    subject = scripted(model)
    assert treats_rows_alone(subject, ROW, torch.float32, stochastic=False)
    assert not treats_rows_alone(subject, ROW, torch.float32, stochastic=True)


def test_a_model_that_raises_on_the_probe_is_left_alone() -> None:
    assert not treats_rows_alone(nn.Linear(5, 2).eval(), ROW, torch.float32, stochastic=False)


def test_the_probe_leaves_model_and_generator_as_they_were() -> None:
    model = scripted(tiny())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    treats_rows_alone(model, ROW, torch.float32, stochastic=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(part.training for part in model.modules())
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


@pytest.mark.parametrize("at_once", [1, 7, 5000])
def test_passes_at_once_have_dropouts_moments_and_masks_of_their_own(at_once: int) -> None:
    """Dropout with p of a constant 1 has mean 1 and variance p / (1 - p)."""
    sampling = Sampling(samples=20_000, seed=0, passes_at_once=at_once)
    with torch.no_grad():
        estimate = find_method(UncertaintyMethod.MC_DROPOUT)(
            [nn.Sequential(nn.Dropout(0.2)).eval()], torch.ones(2, 4), sampling
        )
    np.testing.assert_allclose(estimate.inference, np.ones((2, 4)), atol=0.02)
    np.testing.assert_allclose(estimate.uncertainty["variance"], np.full((2, 4), 0.25), atol=0.02)
