"""Every sample is in one share, and no share is empty."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.simulation.partitions import dirichlet_shares, even_shares, given_shares

people = st.integers(1, 40)


@given(samples=st.integers(1, 300), participants=people, seed=st.integers(0, 2**32))
def test_even_shares_hold_every_sample_once_and_differ_by_one_at_most(
    samples: int, participants: int, seed: int
) -> None:
    participants = min(participants, samples)
    shares = even_shares(samples, participants, seed=seed)
    sizes = {len(share) for share in shares}
    assert sorted(np.concatenate(shares).tolist()) == list(range(samples))
    assert len(shares) == participants
    assert max(sizes) - min(sizes) <= 1


@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=200),
    participants=people,
    alpha=st.sampled_from([0.01, 0.5, 100.0]),
    seed=st.integers(0, 2**32),
)
def test_a_drawn_partition_can_be_given_again(
    labels: list[int], participants: int, alpha: float, seed: int
) -> None:
    participants = min(participants, len(labels))
    drawn = dirichlet_shares(np.array(labels), participants, alpha=alpha, seed=seed)
    again = given_shares([share.tolist() for share in drawn], len(labels), participants)
    assert [share.tolist() for share in again] == [share.tolist() for share in drawn]


def test_the_same_seed_gives_the_same_shares_and_another_gives_others() -> None:
    def drawn(seed: int) -> list[list[int]]:
        return [share.tolist() for share in even_shares(100, 7, seed=seed)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([[0], [1]], "2 shares for 3 participants"),
        ([[0], [], [1]], "share 1 is empty"),
        ([[0], [1], [4]], "share 2 has index 4; there are samples 0 to 3"),
        ([[0], [1], [-1]], "index -1"),
        ([[0, 2], [1], [2]], "shares 0 and 2 both have sample 2"),
        ([[0, 0], [1], [2]], "share 0 has a sample twice"),
    ],
)
def test_given_shares_that_cannot_be_are_refused(shares: list[list[int]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        given_shares(shares, samples=4, participants=3)
