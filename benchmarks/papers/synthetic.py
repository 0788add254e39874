"""Synthetic(α, β): devices whose models and inputs differ, as Li et al. generate them.

Source: Li, Sahu, Zaheer, Sanjabi, Talwalkar & Smith, "Federated Optimization in Heterogeneous
Networks", MLSys 2020, section 5.1 and appendix C.1. α says how much the devices' models differ, β
how much their inputs do. The paper gives no number of samples; lognormal(4, 2) + 50 is that of the
code that its authors published.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DEVICES = 30
INPUTS = 60
CLASSES = 10
TRAINING_FRACTION = 0.9


@dataclass(frozen=True)
class Device:
    """Inputs float32, shape (n, 60); labels int64, shape (n,); a tenth of them for the test."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def devices(alpha: float, beta: float, *, seed: int, count: int = DEVICES) -> list[Device]:
    """Device k labels x ~ N(v_k, Σ) by argmax(W_k x + b_k).

    W_k and b_k have entries from N(u_k, 1) with u_k ~ N(0, α), v_k entries from N(B_k, 1) with
    B_k ~ N(0, β); Σ is diagonal with Σ_jj = j^-1.2.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(4, 2, count).astype(np.int64) + 50
    # As in the published code, α and β are standard deviations.
    model_means = rng.normal(0, alpha, count)
    input_means = rng.normal(0, beta, count)
    deviations = np.arange(1, INPUTS + 1) ** -0.6
    made = []
    for size, model_mean, input_mean in zip(sizes, model_means, input_means, strict=True):
        centre = rng.normal(input_mean, 1, INPUTS)
        weight = rng.normal(model_mean, 1, (CLASSES, INPUTS))
        bias = rng.normal(model_mean, 1, CLASSES)
        inputs = centre + deviations * rng.standard_normal((size, INPUTS))
        labels = torch.from_numpy((inputs @ weight.T + bias).argmax(axis=1))
        samples = torch.from_numpy(inputs.astype(np.float32))
        cut = int(TRAINING_FRACTION * size)
        made.append(Device(samples[:cut], labels[:cut], samples[cut:], labels[cut:]))
    return made
