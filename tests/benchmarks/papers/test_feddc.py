"""A small instance of the FedDC paper points the way that the paper says."""

from benchmarks.papers.feddc import DAISY_CHAIN, POOLED, SELDOM, final_test


def test_handing_on_beats_averaging_what_two_samples_each_have_taught() -> None:
    found = {
        setting: final_test(setting, seed=0, participants=60, period=20, aggregations=3)
        for setting in (DAISY_CHAIN, SELDOM, POOLED)
    }
    assert found[DAISY_CHAIN]["loss"] < found[SELDOM]["loss"]
    assert found[POOLED]["loss"] < found[DAISY_CHAIN]["loss"]
