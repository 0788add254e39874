"""A small instance of the papers on uncertainty points the way that they say."""

import statistics

import torch

from benchmarks.papers.calibration import (
    METHODS,
    SHIFTS,
    Share,
    collect_moments,
    network,
    qualities,
    rotated,
)
from compute.contract import UncertaintyMethod


def test_an_ensemble_is_better_than_one_and_shift_makes_all_worse() -> None:
    found = qualities(seed=0, rounds=5, members=3, passes=5)
    assert found.keys() == {(shift, method) for shift in SHIFTS for method in METHODS}
    one, several = (
        statistics.fmean(found[shift, method].nll for shift in SHIFTS)
        for method in (UncertaintyMethod.NONE, UncertaintyMethod.ENSEMBLE)
    )
    assert several < one
    for method in METHODS:
        assert found["rotated by 45°", method].nll > 2 * found["none", method].nll
        assert found["none", method].accuracy > 0.8


def test_a_digit_is_turned_about_its_middle() -> None:
    image = torch.rand(2, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotated(image, 0), image)
    turned = rotated(image, 90).view(2, 8, 8)
    upright = image.view(2, 8, 8)
    assert any(torch.allclose(turned, upright.rot90(times, (1, 2)), atol=1e-5) for times in (1, 3))


def test_moments_are_of_the_steps_and_have_a_variance() -> None:
    torch.manual_seed(0)
    share = Share(torch.rand(40, 64), torch.arange(40) % 10)
    moments = collect_moments(network(), share)
    variance = moments.second - moments.first.square()
    assert float(variance.min()) > -1e-12
    assert float(variance.mean()) > 0
    assert moments.first.dtype == torch.float64
    assert len(moments.first) == 64 * 128 + 128 + 128 * 10 + 10
