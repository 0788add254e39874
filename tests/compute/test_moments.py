"""SWAG moments: which are accepted, and their average against numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compute.blobs import BlobStore, open_blob_store
from compute.contract import CheckMoments, MomentsRef, Rejected, RejectionReason
from compute.formats import load_tensor
from compute.moments import average_moments, check_moments, write_moments
from compute.uncertainty import Moments
from tests.compute.models import stored
from tests.model_files import pickled, tiny, tiny_file

PARAMETERS = 66


def order(
    store: BlobStore, first: object, second: object, base: bytes | None = None
) -> CheckMoments:
    return CheckMoments(
        first_key=stored(store, pickled(first)).digest,
        second_key=stored(store, pickled(second)).digest,
        base_key=stored(store, base or pickled(tiny())).digest,
    )


@pytest.mark.parametrize("base", [pickled(tiny()), tiny_file()], ids=["module", "script"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_one_entry_per_parameter_is_accepted(
    store: BlobStore, base: bytes, dtype: torch.dtype
) -> None:
    moment = torch.ones(PARAMETERS, dtype=dtype)
    check_moments(store, order(store, moment, moment, base))


@pytest.mark.parametrize(
    ("first", "second", "reason", "words"),
    [
        (torch.ones(65), torch.ones(66), RejectionReason.INCOMPATIBLE, "first moment has 65"),
        (torch.ones(66), torch.ones(67), RejectionReason.INCOMPATIBLE, "second moment has 67"),
        (torch.ones(66, 1), torch.ones(66), RejectionReason.INCOMPATIBLE, "shape .66, 1."),
        (torch.ones(66).int(), torch.ones(66), RejectionReason.INCOMPATIBLE, "int32"),
        (torch.full((66,), math.nan), torch.ones(66), RejectionReason.NOT_FINITE, "first"),
        (torch.ones(66), torch.full((66,), math.inf), RejectionReason.NOT_FINITE, "second"),
        (torch.ones(66), -torch.ones(66), RejectionReason.INCOMPATIBLE, "negative"),
        (
            tiny().state_dict(),
            torch.ones(66),
            RejectionReason.NOT_A_MODEL,
            "single tensor|not a tensor",
        ),
    ],
    ids=range(8),
)
def test_what_cannot_be_moments_is_rejected(
    store: BlobStore, first: object, second: object, reason: RejectionReason, words: str
) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        check_moments(store, order(store, first, second))
    assert caught.value.reason is reason


def referred(store: BlobStore, first: Tensor, second: Tensor, sample_size: int) -> MomentsRef:
    return MomentsRef(
        moments_id="m",
        first_digest=stored(store, pickled(first)).digest,
        second_digest=stored(store, pickled(second)).digest,
        sample_size=sample_size,
    )


@given(
    sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 50),
)
@settings(max_examples=20)
def test_the_average_is_the_mixtures(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, length: int
) -> None:
    store = open_blob_store(tmp_path_factory.mktemp("moments").as_uri())
    generator = torch.Generator().manual_seed(seed)
    firsts = [torch.randn(length, generator=generator) for _ in sizes]
    within = [torch.rand(length, generator=generator) for _ in sizes]
    seconds = [f.square() + v for f, v in zip(firsts, within, strict=True)]
    average = average_moments(
        store, [referred(store, *each) for each in zip(firsts, seconds, sizes, strict=True)]
    )
    shares = np.array(sizes) / sum(sizes)
    first = shares @ np.stack([f.double().numpy() for f in firsts])
    second = shares @ np.stack([s.double().numpy() for s in seconds])
    np.testing.assert_allclose(average.first, first, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(average.second, second, rtol=1e-12)
    # Within plus between: what is left of s - m² is the variance of the mixture.
    spread = np.stack([f.double().numpy() for f in firsts]) - first
    mixture = shares @ np.stack([v.double().numpy() for v in within]) + shares @ spread**2
    np.testing.assert_allclose(average.second - average.first**2, mixture, atol=1e-5)


def test_averages_are_written_as_float64_and_the_same_ones_as_the_same_blobs(
    store: BlobStore,
) -> None:
    moments = Moments(torch.arange(3.0), torch.arange(3.0).square())
    blobs = write_moments(store, moments)
    assert blobs == write_moments(store, moments)
    with store.local_path(blobs[1].digest) as path:
        written = load_tensor(path)
    assert written.dtype == torch.float64
    assert torch.equal(written, moments.second.double())


def test_moments_of_different_lengths_are_not_averaged(store: BlobStore) -> None:
    refs = [referred(store, torch.ones(n), torch.ones(n), 1) for n in (2, 3)]
    with pytest.raises(Rejected, match="3 entries, expected 2"):
        average_moments(store, refs)


def test_no_moments_have_no_average(store: BlobStore) -> None:
    with pytest.raises(ValueError, match="at least one"):
        average_moments(store, [])
