"""The demo's split of the digits: complete, disjoint, stratified and repeatable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.digits.shares import Samples, dirichlet_shares, load_samples, split_test


@pytest.fixture(scope="module")
def samples() -> Samples:
    return load_samples()


def test_all_real_digits_are_loaded_as_images_between_zero_and_one(samples: Samples) -> None:
    assert samples.images.shape == (1797, 1, 8, 8)
    assert samples.images.dtype == np.float32
    assert (samples.images.min(), samples.images.max()) == (0.0, 1.0)


def test_every_sample_is_either_for_training_or_for_testing(samples: Samples) -> None:
    training, test = split_test(samples)
    both = np.concatenate([training.images, test.images]).reshape(len(samples), -1)
    original = samples.images.reshape(len(samples), -1)
    assert np.array_equal(np.sort(both, axis=0), np.sort(original, axis=0))
    assert len(training) + len(test) == len(samples)


def test_the_test_set_holds_a_fifth_of_every_class(samples: Samples) -> None:
    _, test = split_test(samples)
    of_all = np.bincount(samples.labels)
    assert np.all(np.abs(np.bincount(test.labels) - 0.2 * of_all) <= 0.5)


def test_the_test_set_is_always_the_same(samples: Samples) -> None:
    first, second = split_test(samples)[1], split_test(samples)[1]
    assert np.array_equal(first.images, second.images)


@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=300),
    participants=st.integers(1, 20),
    alpha=st.floats(0.01, 1000),
    seed=st.integers(0, 2**32),
)
def test_shares_hold_every_sample_exactly_once_and_none_is_empty(
    labels: list[int], participants: int, alpha: float, seed: int
) -> None:
    participants = min(participants, len(labels))
    shares = dirichlet_shares(
        np.array(labels, dtype=np.int64), participants, alpha=alpha, seed=seed
    )
    assert len(shares) == participants
    assert all(len(share) > 0 for share in shares)
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(labels)))


def test_the_same_seed_gives_the_same_shares_and_another_gives_others(samples: Samples) -> None:
    def drawn(seed: int) -> list[list[int]]:
        shares = dirichlet_shares(samples.labels, 5, alpha=0.5, seed=seed)
        return [share.tolist() for share in shares]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_large_alpha_makes_shares_alike_and_small_alpha_makes_them_differ(
    samples: Samples,
) -> None:
    def classes_missing(alpha: float) -> int:
        shares = dirichlet_shares(samples.labels, 5, alpha=alpha, seed=0)
        return sum(10 - len(np.unique(samples.labels[share])) for share in shares)

    assert classes_missing(1000.0) == 0
    assert classes_missing(0.05) >= 10


@pytest.mark.parametrize("participants", [0, -1, 4])
def test_an_impossible_number_of_participants_is_refused(participants: int) -> None:
    with pytest.raises(ValueError, match="cannot be shared"):
        dirichlet_shares(np.array([0, 1, 2]), participants, alpha=0.5, seed=0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_an_alpha_that_is_not_positive_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        dirichlet_shares(np.array([0, 1, 2]), 2, alpha=alpha, seed=0)
