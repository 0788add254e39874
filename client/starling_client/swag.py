"""Moments of the iterates of local training, from which SWAG estimates its uncertainty.

Source: Maddox, Garipov, Izmailov, Vetrov & Wilson, "A Simple Baseline for Bayesian Uncertainty in
Deep Learning", NeurIPS 2019, section 3.2.
"""

import torch
from torch import Tensor, nn

from starling_client.errors import BadSubmission


class SwagMoments:
    """Running means of θ and θ² over the steps at which `collect` was called, on the CPU.

        moments = SwagMoments(model)
        for batch in batches:
            ...
            optimizer.step()
            moments.collect()
        task.submit(moments, sample_size=len(samples))

    Attributes:
        count: How many iterates are in them.
    """

    def __init__(self, model: nn.Module) -> None:
        """Observe `model`; it is not modified."""
        self._parameters = list(model.parameters())
        if not self._parameters:
            raise BadSubmission("The model has no parameters that moments could be about.")
        self.count: int = 0
        # In float64: the variance is the small difference of two large numbers.
        size = sum(parameter.numel() for parameter in self._parameters)
        self._first = torch.zeros(size, dtype=torch.float64)
        self._second = torch.zeros(size, dtype=torch.float64)

    @torch.no_grad()
    def collect(self) -> None:
        """Take the parameters as they are now into the means."""
        self.count += 1
        start = 0
        for parameter in self._parameters:
            value = parameter.detach().reshape(-1).to("cpu", torch.float64)
            end = start + len(value)
            for mean, sample in ((self._first, value), (self._second, value.square())):
                mean[start:end].add_((sample - mean[start:end]) / self.count)
            start = end

    @property
    def first(self) -> Tensor:
        """Mean of θ, flat over the parameters in their order, float64, shape (P,); a copy."""
        return self._first.clone()

    @property
    def second(self) -> Tensor:
        """Mean of θ², as `first`."""
        return self._second.clone()
