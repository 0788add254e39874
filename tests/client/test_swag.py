"""Moments against the mean of all iterates kept."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from starling_client import SwagMoments
from starling_client.errors import BadSubmission
from torch import nn


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 30), seed=st.integers(0, 2**32), offset=st.floats(-1e4, 1e4))
def test_moments_are_the_means_over_all_iterates(steps: int, seed: int, offset: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1, dtype=torch.float64))
    moments = SwagMoments(model)
    kept = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(drawn + offset)
        moments.collect()
        kept.append(torch.cat([p.detach().flatten().double() for p in model.parameters()]))
    iterates = torch.stack(kept)  # (steps, P)

    assert moments.count == steps
    torch.testing.assert_close(moments.first, iterates.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(moments.second, iterates.square().mean(0), rtol=1e-12, atol=1e-12)


def test_what_is_handed_out_is_not_what_is_collected_into() -> None:
    moments = SwagMoments(nn.Linear(2, 1))
    moments.collect()
    moments.first.zero_()
    assert moments.first.abs().sum() > 0


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(BadSubmission, match="no parameters"):
        SwagMoments(nn.ReLU())
