import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compute.uncertainty.measures import (
    NotProbabilities,
    accuracy,
    brier_score,
    expected_calibration_error,
    expected_entropy,
    mutual_information,
    negative_log_likelihood,
    predictive_entropy,
)

Array = npt.NDArray[np.float64]


@st.composite
def member_probabilities(draw: st.DrawFn) -> Tensor:
    """Shape (members, batch, classes); some rows nearly or exactly certain."""
    members, batch, classes = (draw(st.integers(1, size)) for size in (5, 4, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    sharpness = draw(st.sampled_from([0.1, 1.0, 30.0, 1000.0]))
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(members, batch, classes, generator=generator) * sharpness
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return logits.double().softmax(2).to(dtype)


def entropy_by_hand(row: Array) -> float:
    return -sum(p * math.log(p) for p in row if p > 0)


@given(member_probabilities())
def test_entropies_are_those_computed_by_hand(probs: Tensor) -> None:
    rows = probs.double().numpy()
    members, batch, _ = rows.shape
    total = [entropy_by_hand(rows[:, b].mean(0)) for b in range(batch)]
    expected = [
        sum(entropy_by_hand(rows[m, b]) for m in range(members)) / members for b in range(batch)
    ]
    np.testing.assert_allclose(predictive_entropy(probs), total, atol=1e-12)
    np.testing.assert_allclose(expected_entropy(probs), expected, atol=1e-12)
    np.testing.assert_allclose(
        mutual_information(probs), np.maximum(np.subtract(total, expected), 0), atol=1e-12
    )


@given(member_probabilities())
def test_entropies_keep_their_bounds(probs: Tensor) -> None:
    most = math.log(probs.shape[2]) + 1e-6
    for measure in (predictive_entropy, expected_entropy, mutual_information):
        values = measure(probs)
        assert values.shape == probs.shape[1:2]
        assert bool(((values >= 0) & (values <= most)).all())


@given(member_probabilities())
def test_one_opinion_has_no_mutual_information(probs: Tensor) -> None:
    same = probs[:1].expand(3, -1, -1)
    assert float(mutual_information(same).max()) <= 1e-12


def test_certain_members_that_disagree_are_all_mutual_information() -> None:
    probs = torch.eye(4)[:, None, :]  # (members, batch = 1, classes)
    assert float(mutual_information(probs)) == pytest.approx(math.log(4))
    assert float(expected_entropy(probs)) == 0.0


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[0.2, 0.2]], [[math.nan, 1.0]], [[-0.5, 1.5]]])
def test_what_is_no_probability_is_refused(rows: list[list[float]]) -> None:
    with pytest.raises(NotProbabilities):
        predictive_entropy(torch.tensor([rows]))


def labelled(seed: int, batch: int = 200, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probs = (torch.randn(batch, classes, generator=generator) * 2).softmax(1)
    return probs, torch.randint(classes, (batch,), generator=generator)


def ece_by_hand(probs: Array, labels: npt.NDArray[np.int64], bins: int) -> float:
    """Guo et al. 2017, eq. 3, bin by bin."""
    confidence, predicted = probs.max(1), probs.argmax(1)
    error = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            gap = (predicted == labels)[inside].mean() - confidence[inside].mean()
            error += inside.mean() * abs(gap)
    return float(error)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_figures_are_those_computed_by_hand(seed: int) -> None:
    probs, labels = labelled(seed)
    rows, truth = probs.double().numpy(), labels.numpy()
    of_label = rows[np.arange(len(truth)), truth]
    assert negative_log_likelihood(probs, labels) == pytest.approx(-np.log(of_label).mean())
    one_hot = np.eye(rows.shape[1])[truth]
    assert brier_score(probs, labels) == pytest.approx(((rows - one_hot) ** 2).sum(1).mean())
    assert accuracy(probs, labels) == pytest.approx((rows.argmax(1) == truth).mean())
    assert expected_calibration_error(probs, labels) == pytest.approx(ece_by_hand(rows, truth, 15))


def test_a_perfect_model_is_perfectly_calibrated() -> None:
    probs, labels = torch.eye(3), torch.arange(3)
    assert negative_log_likelihood(probs, labels) == 0.0
    assert brier_score(probs, labels) == 0.0
    assert expected_calibration_error(probs, labels) == 0.0
    assert accuracy(probs, labels) == 1.0


def test_a_label_given_no_probability_is_infinitely_unlikely() -> None:
    assert negative_log_likelihood(torch.eye(2), torch.tensor([1, 1])) == math.inf


@pytest.mark.parametrize("labels", [[0], [0, 7], [0, -1]])
def test_labels_that_do_not_fit_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="Labels"):
        brier_score(torch.full((2, 2), 0.5), torch.tensor(labels))
