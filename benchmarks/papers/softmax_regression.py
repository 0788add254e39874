"""Local training of a softmax regression, compiled: what a device does between two rounds.

FedProx's experiments take some hundred million steps of ten microseconds; the dispatch of torch's
operations alone would take ten times as long as the arithmetic.
"""

from typing import Protocol, cast

import numba
import numpy as np
from numpy.typing import NDArray


class _Train(Protocol):
    def __call__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
        positions: NDArray[np.int64],
        learning_rate: np.float32,
        mu: np.float32,
    ) -> None: ...


def _train_(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    positions: NDArray[np.int64],
    learning_rate: np.float32,
    mu: np.float32,
) -> None:
    """SGD on the mean cross-entropy plus (mu/2)·‖w - w_start‖²; `weight` and `bias` are modified.

    Args:
        weight: Shape (classes, inputs).
        positions: Samples of each step, shape (steps, batch size); -1 at the end is no sample.
    """
    classes, width = weight.shape
    weight_start, bias_start = weight.copy(), bias.copy()
    gradient, bias_gradient = np.empty_like(weight), np.empty_like(bias)
    errors = np.empty_like(bias)
    for step in range(positions.shape[0]):
        gradient[:] = 0
        bias_gradient[:] = 0
        count = 0
        for place in range(positions.shape[1]):
            sample = positions[step, place]
            if sample < 0:
                break
            count += 1
            for label in range(classes):
                logit = bias[label]
                for column in range(width):
                    logit += weight[label, column] * inputs[sample, column]
                errors[label] = logit
            highest = errors.max()
            total = np.float32(0)
            for label in range(classes):
                errors[label] = np.exp(errors[label] - highest)
                total += errors[label]
            for label in range(classes):
                errors[label] /= total
            errors[labels[sample]] -= np.float32(1)
            for label in range(classes):
                error = errors[label]
                bias_gradient[label] += error
                for column in range(width):
                    gradient[label, column] += error * inputs[sample, column]
        share = np.float32(1) / np.float32(count)
        for label in range(classes):
            pull = mu * (bias[label] - bias_start[label])
            bias[label] -= learning_rate * (bias_gradient[label] * share + pull)
            for column in range(width):
                pull = mu * (weight[label, column] - weight_start[label, column])
                weight[label, column] -= learning_rate * (gradient[label, column] * share + pull)


_signature = numba.void(
    numba.float32[:, ::1],
    numba.float32[::1],
    numba.types.Array(numba.float32, 2, "C", readonly=True),
    numba.types.Array(numba.int64, 1, "C", readonly=True),
    numba.types.Array(numba.int64, 2, "C", readonly=True),
    numba.float32,
    numba.float32,
)
train_ = cast("_Train", numba.njit(_signature, fastmath={"reassoc", "contract"})(_train_))
