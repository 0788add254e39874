"""A small instance of the FedProx paper points the way that the paper says."""

import pytest

from benchmarks.papers.fedprox import EPOCHS, METHODS, PER_ROUND, epochs_of_round, train
from benchmarks.papers.synthetic import devices

AVERAGE, PARTIAL, PROXIMAL = METHODS


@pytest.mark.parametrize(("stragglers", "slow"), [(0.0, 0), (0.5, 5), (0.9, 9)])
def test_so_many_of_a_round_are_slow_and_the_same_ones_in_every_training(
    stragglers: float, slow: int
) -> None:
    for round in range(20):
        epochs = epochs_of_round(round, stragglers, count=30, seed=0)
        assert len(epochs) == PER_ROUND
        assert sum(done < EPOCHS for done in epochs.values()) == slow
        assert all(1 <= done <= EPOCHS for done in epochs.values())
        assert epochs == epochs_of_round(round, stragglers, count=30, seed=0)
    assert epochs_of_round(0, 0.5, count=30, seed=0) != epochs_of_round(1, 0.5, count=30, seed=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_keeping_partial_work_beats_dropping_stragglers(seed: int) -> None:
    held = devices(1, 1, seed=seed)
    courses = {
        method: train(held, method, stragglers=0.9, rounds=25, seed=seed) for method in METHODS
    }
    assert courses[PARTIAL].loss < courses[AVERAGE].loss
    assert courses[PROXIMAL].loss < courses[AVERAGE].loss
    assert courses[PROXIMAL].accuracy > courses[AVERAGE].accuracy


def test_without_stragglers_and_mu_both_are_the_same() -> None:
    held = devices(0, 0, seed=0)
    average, partial = (
        train(held, method, stragglers=0.0, rounds=3) for method in (AVERAGE, PARTIAL)
    )
    assert average == partial


def test_the_proximal_term_steadies_the_training() -> None:
    held = devices(1, 1, seed=0)
    average, proximal = (
        train(held, method, stragglers=0.0, rounds=15) for method in (AVERAGE, PROXIMAL)
    )
    assert proximal.jumps < average.jumps
