import copy
import io
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compute.contract import Rejected, UncertaintyMethod
from compute.uncertainty import Estimate, Moments, Sampling, find_method, method_names
from compute.uncertainty.dropout_layers import only_dropout_active
from compute.uncertainty.outputs import summarised
from compute.uncertainty.registry import register
from compute.uncertainty.swag import draw_parameters_
from tests.model_files import drifted, tiny, torchscript

DRAWS = 5_000
BATCH = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]])


class FunctionalDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, batch: Tensor) -> Tensor:
        return nn.functional.dropout(self.layer(batch), 0.5, self.training)


class DropoutBesideNormalisation(nn.Module):
    """Its one flag switches both."""

    def forward(self, batch: Tensor) -> Tensor:
        batch = nn.functional.batch_norm(batch, None, None, training=True)
        if self.training:
            batch = batch + 1
        return nn.functional.dropout(batch, 0.5, self.training)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(3, 4, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, batch: Tensor) -> Tensor:
        output, _ = self.layers(batch.unsqueeze(1))
        return output.squeeze(1)


def scripted(model: nn.Module) -> nn.Module:
    return reloaded(torchscript(model))


def traced(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(model.eval(), BATCH), file)
    return reloaded(file.getvalue())


def reloaded(content: bytes) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model: nn.Module = torch.jit.load(io.BytesIO(content))
    return model.eval()


def predicted(method: UncertaintyMethod, *models: nn.Module, **sampling: object) -> Estimate:
    with torch.no_grad():
        return find_method(method)([m.eval() for m in models], BATCH, Sampling(**sampling))


def test_every_method_of_the_contract_is_there_once() -> None:
    assert method_names() == sorted(UncertaintyMethod)
    with pytest.raises(ValueError, match="registered twice"):
        register(UncertaintyMethod.NONE)(find_method(UncertaintyMethod.NONE))


def test_without_a_method_classes_are_given() -> None:
    model = tiny().eval()
    estimate = predicted(UncertaintyMethod.NONE, model)
    assert torch.equal(estimate.inference, model(BATCH).argmax(1))
    assert estimate.uncertainty == {}


@st.composite
def stochastic_outputs(draw: st.DrawFn) -> list[Tensor]:
    passes, batch, classes = (draw(st.integers(low, 5)) for low in (2, 1, 1))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6]))
    return list(torch.randn(passes, batch, classes, generator=generator) * scale)


@given(stochastic_outputs())
def test_summaries_are_numpys_in_float64(outputs: list[Tensor]) -> None:
    stacked = torch.stack(outputs).double().numpy()
    estimate = summarised(outputs)
    np.testing.assert_allclose(estimate.inference, stacked.mean(0), rtol=1e-5, atol=1e-12)
    variance, std = estimate.uncertainty["variance"], estimate.uncertainty["std"]
    np.testing.assert_allclose(variance, stacked.var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(std, stacked.std(0, ddof=1), rtol=1e-5)
    assert estimate.inference.dtype == variance.dtype == torch.float32


@given(stochastic_outputs())
def test_only_probabilities_have_entropies(outputs: list[Tensor]) -> None:
    names = {"predictive_entropy", "expected_entropy", "mutual_info"}
    probabilities = summarised([output.softmax(1) for output in outputs])
    assert names <= set(probabilities.uncertainty)
    most = math.log(outputs[0].shape[1]) + 1e-5
    for name in names:
        values = probabilities.uncertainty[name]
        assert values.shape == outputs[0].shape[:1]
        assert bool(((values >= 0) & (values <= most)).all())
    assert not names & set(summarised([output - 1e7 for output in outputs]).uncertainty)


def test_rows_in_the_unit_interval_are_divided_by_their_sum() -> None:
    row = torch.tensor([[0.2, 0.2]])
    estimate = summarised([row, row])
    assert float(estimate.uncertainty["predictive_entropy"]) == pytest.approx(math.log(2))
    empty = summarised([torch.zeros(1, 2), row])
    assert bool(empty.uncertainty["predictive_entropy"].isnan())


def test_a_single_pass_has_no_variance() -> None:
    estimate = predicted(UncertaintyMethod.MC_DROPOUT, tiny(), samples=1)
    assert bool(estimate.uncertainty["variance"].isnan().all())
    assert bool(estimate.inference.isfinite().all())


def with_attention() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)),
        nn.TransformerEncoderLayer(3, 1, 4, dropout=0.5, batch_first=True),
        nn.Flatten(),
    )


@pytest.mark.parametrize(
    "subject",
    [
        tiny(),
        Recurrent(),
        with_attention(),
        scripted(tiny()),
        scripted(FunctionalDropout()),
        scripted(Recurrent()),
        scripted(nn.Sequential(nn.SELU(), nn.AlphaDropout(0.5))),
        scripted(with_attention()),
    ],
    ids=["layers", "lstm", "attention", *(f"scripted-{i}" for i in range(5))],
)
def test_dropout_is_switched_on_and_off_again(subject: nn.Module) -> None:
    subject.eval()
    for parameter in subject.parameters():
        parameter.requires_grad_(requires_grad=False)
    before = subject(BATCH)
    estimate = predicted(UncertaintyMethod.MC_DROPOUT, subject, samples=50, seed=1)
    assert float(estimate.uncertainty["std"].max()) > 0
    again = predicted(UncertaintyMethod.MC_DROPOUT, subject, samples=50, seed=1)
    assert torch.equal(estimate.inference, again.inference)
    other = predicted(UncertaintyMethod.MC_DROPOUT, subject, samples=50, seed=2)
    assert not torch.equal(estimate.inference, other.inference)
    assert torch.equal(subject(BATCH), before)


def test_with_dropout_active_normalisation_stays_as_it_is() -> None:
    model = scripted(drifted(tiny(), seed=0))
    before = [buffer.clone() for buffer in model.buffers()]
    predicted(UncertaintyMethod.MC_DROPOUT, model)
    assert all(torch.equal(*pair) for pair in zip(before, model.buffers(), strict=True))
    with only_dropout_active(model) as active:
        assert active
        training = [str(m.original_name) for m in model.modules() if m.training]
    assert training == ["Dropout"]


def test_passes_have_masks_of_their_own_and_dropouts_moments() -> None:
    """Dropout with p of a constant 1 has mean 1 and variance p / (1 - p)."""
    model = nn.Sequential(nn.Dropout(0.2))
    with torch.no_grad():
        estimate = find_method(UncertaintyMethod.MC_DROPOUT)(
            [model.eval()], torch.ones(1, 4), Sampling(samples=20_000, seed=0)
        )
    np.testing.assert_allclose(estimate.inference, np.ones((1, 4)), atol=0.02)
    np.testing.assert_allclose(estimate.uncertainty["variance"], np.full((1, 4), 0.25), atol=0.02)


@pytest.mark.parametrize(
    "model",
    [traced(tiny()), nn.Linear(3, 2), scripted(DropoutBesideNormalisation())],
    ids=["traced", "none", "shared flag"],
)
def test_a_model_without_dropout_to_switch_on_is_rejected(model: nn.Module) -> None:
    with pytest.raises(Rejected, match="needs a model with dropout"):
        predicted(UncertaintyMethod.MC_DROPOUT, model)


def test_without_a_seed_answers_differ_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = predicted(UncertaintyMethod.MC_DROPOUT, tiny())
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), state)
    second = predicted(UncertaintyMethod.MC_DROPOUT, tiny())
    assert not torch.equal(first.inference, second.inference)


@given(st.integers(2, 6))
@settings(max_examples=5)
def test_an_ensemble_of_identical_members_is_certain(members: int) -> None:
    estimate = predicted(UncertaintyMethod.ENSEMBLE, *[tiny()] * members, softmax=True)
    assert bool((estimate.uncertainty["variance"] == 0).all())
    assert float(estimate.uncertainty["mutual_info"].max()) <= 1e-6


def test_an_ensemble_is_its_members_mean_and_spread() -> None:
    models = [drifted(tiny(), seed=seed).eval() for seed in range(3)]
    models[1] = scripted(models[1])
    estimate = predicted(UncertaintyMethod.ENSEMBLE, *models)
    with torch.no_grad():
        stacked = torch.stack([model(BATCH) for model in models]).double().numpy()
    np.testing.assert_allclose(estimate.inference, stacked.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        estimate.uncertainty["variance"], stacked.var(0, ddof=1), rtol=1e-4, atol=1e-6
    )


def test_members_with_other_outputs_are_rejected() -> None:
    with pytest.raises(Rejected, match="differ in shape"):
        predicted(UncertaintyMethod.ENSEMBLE, nn.Linear(3, 2), nn.Linear(3, 4))


def moments_of(model: nn.Module) -> Moments:
    size = sum(parameter.numel() for parameter in model.parameters())
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(size, generator=generator, dtype=torch.float64)
    variance = torch.rand(size, generator=generator, dtype=torch.float64)
    variance[::7] = -0.5  # rounding may leave s below m²: taken as no variance
    return Moments(first, first.square() + variance)


def test_swag_draws_have_the_moments_they_were_drawn_from() -> None:
    model = nn.Linear(3, 2)
    moments = moments_of(model)
    generator = torch.Generator().manual_seed(3)
    draws = []
    for _ in range(DRAWS):
        draw_parameters_(model, moments, generator)
        draws.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]).double())
    stacked = torch.stack(draws).numpy()
    variance = np.maximum(moments.second.numpy() - moments.first.numpy() ** 2, 0)
    # Four standard errors of a normal's sample mean and variance.
    mean_error = np.abs(stacked.mean(0) - moments.first.numpy())
    assert np.all(mean_error <= 4 * np.sqrt(variance / DRAWS) + 1e-6)
    assert np.all(np.abs(stacked.var(0) - variance) <= 4 * variance * math.sqrt(2 / DRAWS) + 1e-6)
    independent = np.corrcoef(stacked[:-1, 1], stacked[1:, 1])[0, 1]
    assert abs(independent) < 4 / math.sqrt(DRAWS)


def test_swag_predictions_are_those_of_a_linear_model_by_hand() -> None:
    """For y = Wx + b with independent normal W and b, y is normal with known mean and variance."""
    model = nn.Linear(3, 2)
    moments = moments_of(model)
    estimate = predicted(UncertaintyMethod.SWAG, model, samples=5_000, seed=0, moments=moments)
    x = BATCH.double().numpy()
    first = moments.first.numpy()
    variance = np.maximum(moments.second.numpy() - first**2, 0)
    mean = x @ first[:6].reshape(2, 3).T + first[6:]
    spread = x**2 @ variance[:6].reshape(2, 3).T + variance[6:]
    np.testing.assert_allclose(estimate.inference, mean, atol=0.25)
    np.testing.assert_allclose(estimate.uncertainty["variance"], spread, rtol=0.1)


@pytest.mark.parametrize("form", [copy.deepcopy, scripted])
def test_swag_is_reproducible_and_leaves_the_model_as_it_was(form: object) -> None:
    model = form(tiny()).eval()  # type: ignore[operator]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moments = moments_of(model)
    first = predicted(UncertaintyMethod.SWAG, model, seed=7, moments=moments)
    second = predicted(UncertaintyMethod.SWAG, tiny(), seed=7, moments=moments)
    torch.testing.assert_close(first.inference, second.inference)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_swag_without_variance_is_the_mean_model() -> None:
    model = tiny()
    first = torch.cat([p.detach().reshape(-1) for p in drifted(tiny(), seed=4).parameters()])
    estimate = predicted(
        UncertaintyMethod.SWAG, model, moments=Moments(first, first.double().square() - 1)
    )
    assert bool((estimate.uncertainty["variance"] == 0).all())


def test_swag_without_moments_is_rejected() -> None:
    with pytest.raises(Rejected, match="no moments yet"):
        predicted(UncertaintyMethod.SWAG, tiny())


def test_swag_with_anothers_moments_is_rejected() -> None:
    with pytest.raises(Rejected, match="66 parameters"):
        predicted(UncertaintyMethod.SWAG, tiny(), moments=Moments(torch.ones(3), torch.ones(3)))
