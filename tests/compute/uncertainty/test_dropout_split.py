"""What comes before a model's dropout is computed once for all passes, with the same outcome."""

import io
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compute.contract import UncertaintyMethod
from compute.uncertainty import Estimate, Sampling, find_method, row_independence
from compute.uncertainty.dropout_layers import has_dropout
from compute.uncertainty.dropout_split import split_before_dropout
from compute.uncertainty.row_independence import treats_rows_alone
from examples.digits.network import digits_network
from tests.model_files import torchscript

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LAYER = nn.Linear(4, 4)
ROWS = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))


class Chain(nn.Module):
    """Calls its modules one on the other."""

    def __init__(self) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.body = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(batch))
        return result


class Residual(Chain):
    """Adds what it was given."""

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(batch) + batch)
        return result


class TwoInputs(Chain):
    """Its first module takes both."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Bilinear(4, 4, 4)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        result: Tensor = self.head(self.body(first, second))
        return result


class Pair(nn.Module):
    """Gives more than a tensor."""

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return batch, batch


class Sum(nn.Module):
    """Takes more than a tensor."""

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0] + pair[1]


class OfPairs(Chain):
    """Has what is no tensor between its modules."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.sum = Pair(), Sum()

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = self.head(self.sum(self.pair(batch)))
        return result


class OtherSequential(nn.Sequential):
    """A sequence in name only."""

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = super().forward(batch + 1)
        return result


def pickled(model: nn.Module) -> nn.Module:
    return model.eval()


def scripted(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loaded: nn.Module = torch.jit.load(io.BytesIO(torchscript(model)))
    return loaded.eval()


def predicted(model: nn.Module, batch: Tensor, **sampling: object) -> Estimate:
    with torch.no_grad():
        method = find_method(UncertaintyMethod.MC_DROPOUT)
        return method([model], batch, Sampling(seed=3, **sampling))


@pytest.mark.parametrize("form", [pickled, scripted])
@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (digits_network(0), IMAGES),
        (nn.Sequential(nn.Sequential(LAYER, LAYER), nn.Dropout()), ROWS),
        (nn.Sequential(nn.Linear(4, 4), nn.Dropout(inplace=True), nn.Linear(4, 2)), ROWS),
    ],
)
@pytest.mark.parametrize("passes_at_once", [1, 4, 10])
def test_a_split_model_draws_the_same_masks(
    form: Callable[[nn.Module], nn.Module], model: nn.Module, batch: Tensor, passes_at_once: int
) -> None:
    model = form(model)
    split = split_before_dropout(model)
    assert split is not None
    assert not has_dropout(split.before)
    whole = predicted(model, batch, passes_at_once=passes_at_once)
    found = predicted(model, batch, passes_at_once=passes_at_once, split=split)
    torch.testing.assert_close(found.inference, whole.inference)
    # What is no distribution has no entropy: NaN.
    torch.testing.assert_close(found.uncertainty, whole.uncertainty, equal_nan=True)
    assert found.uncertainty["std"].count_nonzero()
    with torch.no_grad():
        torch.testing.assert_close(split.after(split.before(batch)), model(batch))


def test_programs_that_only_call_their_modules_in_turn_are_split() -> None:
    model = scripted(Chain())
    split = split_before_dropout(model)
    assert split is not None
    assert not has_dropout(split.before)
    with torch.no_grad():
        torch.testing.assert_close(split.after(split.before(ROWS)), model(ROWS))


@pytest.mark.parametrize(
    ("form", "model"),
    [
        (scripted, Residual()),
        (scripted, TwoInputs()),
        (scripted, OfPairs()),
        (pickled, Chain()),
        (pickled, OtherSequential(nn.Linear(4, 4), nn.Dropout())),
        (pickled, nn.Sequential(nn.Dropout(), nn.Linear(4, 4))),
        (pickled, nn.Sequential(nn.Linear(4, 4), nn.ReLU())),
        (scripted, nn.Sequential(nn.Dropout(), nn.Linear(4, 4))),
        (scripted, nn.Sequential(nn.Linear(4, 4), nn.ReLU())),
    ],
)
def test_what_does_more_or_has_nothing_before_its_dropout_stays_whole(
    form: Callable[[nn.Module], nn.Module], model: nn.Module
) -> None:
    assert split_before_dropout(form(model)) is None


def test_the_layers_before_dropout_of_a_program_are_seen_to_treat_rows_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_independence, "LONGEST_PASS_SECONDS", math.inf)  # however busy it is
    split = split_before_dropout(scripted(digits_network(0)))
    assert split is not None
    row = IMAGES.shape[1:]
    assert treats_rows_alone(split.before, row, torch.float32, stochastic=False)
    mixed = nn.Sequential(*split.before, nn.Identity())
    assert not treats_rows_alone(mixed, row, torch.float32, stochastic=False)
