"""Measures of uncertainty (entropies) and of calibration (NLL, Brier score, ECE, accuracy).

Everything is computed in float64, in nats, and given back as float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

CALIBRATION_BINS = 15
SUM_TOLERANCE = 1e-4
TEMPORARY_ENTRIES = 2**17


class NotProbabilities(ValueError):
    """Rows are not probabilities: out of [0, 1], not finite, or not summing to 1."""


def predictive_entropy(probs: Tensor) -> Tensor:
    """Entropy of the mean prediction: total uncertainty (Houlsby et al. 2011, eq. 2).

    Args:
        probs: Class probabilities, shape (members, batch, classes, …), rows sum to 1 over classes.

    Returns:
        Shape (batch, …), float64, nats, in [0, log(classes)]. `probs` is not modified.

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4 (were logits passed?).
    """
    return entropies(_probabilities(probs, 2)).predictive


def expected_entropy(probs: Tensor) -> Tensor:
    """Mean entropy of the members: aleatoric part (Houlsby et al. 2011, eq. 2).

    Args:
        probs: Class probabilities, shape (members, batch, classes, …), rows sum to 1 over classes.

    Returns:
        Shape (batch, …), float64, nats, in [0, log(classes)]. `probs` is not modified.

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4 (were logits passed?).
    """
    return entropies(_probabilities(probs, 2)).expected


def mutual_information(probs: Tensor) -> Tensor:
    """Epistemic part of the predictive uncertainty (BALD; Houlsby et al. 2011, eq. 2).

    Args:
        probs: Class probabilities, shape (members, batch, classes, …), rows sum to 1 over classes.

    Returns:
        Shape (batch, …), float64, nats, in [0, log(classes)]; rounding below 0 is cut off. `probs`
        is not modified.

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4 (were logits passed?).
    """
    return entropies(_probabilities(probs, 2)).mutual_information


class Entropies(NamedTuple):
    """Total, aleatoric and epistemic uncertainty, each of shape (batch, …), float64, nats."""

    predictive: Tensor
    expected: Tensor
    mutual_information: Tensor


def entropies(probs: Tensor) -> Entropies:
    """All three of what is known to be probabilities: see `predictive_entropy` and so on.

    Args:
        probs: Shape (members, batch, classes, …), float64; not looked at again.
    """
    predictive = _entropy(probs.mean(0))
    # A few members at a time: no temporary as large as all of them.
    at_once = max(1, TEMPORARY_ENTRIES // max(1, probs[0].numel()))
    expected = torch.zeros_like(predictive)
    for members in probs.split(at_once):
        expected += _entropy(members.flatten(0, 1)).unflatten(0, members.shape[:2]).sum(0)
    expected /= len(probs)
    return Entropies(predictive, expected, (predictive - expected).clamp_(min=0.0))


def negative_log_likelihood(probs: Tensor, labels: Tensor) -> float:
    """Mean of -log p(label), in nats; infinite when a label was given probability 0.

    Args:
        probs: Class probabilities, shape (batch, classes), rows sum to 1.
        labels: Class indices, shape (batch,), integer.

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4.
        ValueError: shapes or labels do not fit, or there are none.
    """
    probs, labels = _labelled(probs, labels)
    return float(-probs.gather(1, labels[:, None]).log().mean())


def brier_score(probs: Tensor, labels: Tensor) -> float:
    """Mean over the batch of Σ_c (p_c - [c = label])², in [0, 2] (Brier 1950).

    Args:
        probs: Class probabilities, shape (batch, classes), rows sum to 1.
        labels: Class indices, shape (batch,), integer.

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4.
        ValueError: shapes or labels do not fit, or there are none.
    """
    probs, labels = _labelled(probs, labels)
    one_hot = torch.nn.functional.one_hot(labels, probs.shape[1])
    return float((probs - one_hot).square_().sum(1).mean())


def expected_calibration_error(
    probs: Tensor, labels: Tensor, *, bins: int = CALIBRATION_BINS
) -> float:
    """Σ_b |B_b|/n · |accuracy(B_b) - confidence(B_b)|, in [0, 1] (Guo et al., ICML 2017, eq. 3).

    Args:
        probs: Class probabilities, shape (batch, classes), rows sum to 1.
        labels: Class indices, shape (batch,), integer.
        bins: Equally wide ones over (0, 1]; bin b holds confidences in (b/bins, (b+1)/bins].

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4.
        ValueError: shapes or labels do not fit, or there are none.
    """
    probs, labels = _labelled(probs, labels)
    confidence, predicted = probs.max(1)
    upper_edges = torch.arange(1, bins, dtype=torch.float64, device=probs.device) / bins
    bin_index = torch.bucketize(confidence, upper_edges)  # (lower, upper]
    gap = (predicted == labels).double() - confidence
    per_bin = torch.zeros(bins, dtype=torch.float64, device=probs.device)
    return float(per_bin.index_add_(0, bin_index, gap).abs_().sum()) / len(labels)


def accuracy(probs: Tensor, labels: Tensor) -> float:
    """Share of rows whose most probable class is the label (the first one among equals).

    Args:
        probs: Class probabilities, shape (batch, classes), rows sum to 1.
        labels: Class indices, shape (batch,), integer.

    Raises:
        NotProbabilities: a row does not sum to 1 within 1e-4.
        ValueError: shapes or labels do not fit, or there are none.
    """
    probs, labels = _labelled(probs, labels)
    return float((probs.argmax(1) == labels).double().mean())


def _entropy(probs: Tensor) -> Tensor:
    """-Σ p log p over dimension 1; 0 log 0 is 0."""
    # xlogy gives a negative zero for a certain row, and rounding may leave a hair below zero.
    entropy: Tensor = torch.special.xlogy(probs, probs).sum(1).neg_()
    return entropy.clamp_(min=0.0)


def _probabilities(probs: Tensor, class_dim: int) -> Tensor:
    """`probs` in float64, checked."""
    if probs.dim() <= class_dim or not probs.shape[0]:
        message = f"Probabilities of shape {list(probs.shape)} have no class dimension {class_dim}."
        raise NotProbabilities(message)
    probs = probs.double()
    in_range = (probs >= 0).all() and (probs <= 1 + SUM_TOLERANCE).all()
    if not in_range or ((probs.sum(class_dim) - 1).abs() > SUM_TOLERANCE).any():
        message = "Rows must be probabilities that sum to 1; were logits passed?"
        raise NotProbabilities(message)
    return probs


def _labelled(probs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities in float64 and labels in int64, checked."""
    probs = _probabilities(probs, 1)
    if probs.dim() != 2 or labels.shape != probs.shape[:1]:
        message = f"Labels of shape {list(labels.shape)} do not fit {list(probs.shape)}."
        raise ValueError(message)
    labels = labels.long()
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        message = f"Labels must lie in [0, {probs.shape[1]})."
        raise ValueError(message)
    return probs, labels
