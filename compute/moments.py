"""SWAG moments of participants: what is accepted, and their average.

Source: Maddox et al., "A Simple Baseline for Bayesian Uncertainty in Deep Learning", NeurIPS 2019;
averaged over participants, s - m² is the variance of the mixture: within plus between.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from compute.blobs import BlobRef, BlobStore
from compute.contract import CheckMoments, MomentsRef, Rejected, RejectionReason
from compute.formats import load_module, load_tensor, write_tensor
from compute.state_dicts import is_finite, slices
from compute.uncertainty import Moments


def check_moments(store: BlobStore, order: CheckMoments) -> None:
    """Make sure that a participant's moments can be averaged.

    Raises:
        Rejected: one is not a 1-D floating tensor with a finite entry for each parameter of the
            model, or a second moment is negative.
        BlobError: a blob is missing or cannot be read now.
    """
    with store.local_path(order.base_key) as path:
        num_parameters = sum(parameter.numel() for parameter in load_module(path).parameters())
    if not num_parameters:
        raise Rejected(
            RejectionReason.INCOMPATIBLE,
            "The model has no parameters that moments could be about; a frozen TorchScript archive "
            "has none.",
        )
    with store.local_path(order.first_key) as first, store.local_path(order.second_key) as second:
        _checked(first, "first moment", num_parameters)
        if any(
            bool((piece < 0).any())
            for piece in slices(_checked(second, "second moment", num_parameters))
        ):
            raise Rejected(
                RejectionReason.INCOMPATIBLE,
                "The second moment has a negative entry, which no mean of squares is.",
            )


def average_moments(store: BlobStore, moments: Iterable[MomentsRef]) -> Moments:
    """Σ p_k m_k and Σ p_k s_k with p_k = n_k / Σ n, in float64.

    Args:
        moments: Accepted ones of one model; added in this order, one read at a time.

    Raises:
        Rejected: they differ in length or are not moments.
        ValueError: there are none, or a sample size is below 1.
        BlobError: a blob is missing or cannot be read now.
    """
    listed = list(moments)
    if not listed or any(ref.sample_size < 1 for ref in listed):
        message = "Moments are averaged over at least one participant with at least one sample."
        raise ValueError(message)
    return Moments(
        _weighted_mean(store, [(ref.first_digest, ref.sample_size) for ref in listed]),
        _weighted_mean(store, [(ref.second_digest, ref.sample_size) for ref in listed]),
    )


def write_moments(store: BlobStore, moments: Moments) -> tuple[BlobRef, BlobRef]:
    """Both as blobs of torch-saved 1-D float64 tensors; the same values give the same blobs."""
    first, second = (_written(store, tensor.double()) for tensor in moments)
    return first, second


def _written(store: BlobStore, tensor: Tensor) -> BlobRef:
    with store.scratch_file() as path:
        write_tensor(tensor, path)
        return store.put_file(path, consume=True)


def _weighted_mean(store: BlobStore, weighted: list[tuple[str, int]]) -> Tensor:
    total: Tensor | None = None
    for digest, sample_size in weighted:
        with store.local_path(digest) as path:
            tensor = _checked(path, "moment", None if total is None else len(total))
            if total is None:
                total = torch.zeros(len(tensor), dtype=torch.float64)
            for into, piece in zip(slices(total), slices(tensor), strict=True):
                # In two roundings on every processor; see `FedAvg.fold_`.
                into.add_(piece.to(torch.float64, copy=True).mul_(sample_size))
    if total is None:
        message = "There is nothing to average."
        raise ValueError(message)
    return total.div_(sum(sample_size for _, sample_size in weighted))


def _checked(path: Path, what: str, expected_length: int | None) -> Tensor:
    tensor = load_tensor(path)
    if tensor.dim() != 1 or not tensor.is_floating_point():
        raise Rejected(
            RejectionReason.INCOMPATIBLE,
            f"The {what} is a {str(tensor.dtype).removeprefix('torch.')} tensor of shape "
            f"{list(tensor.shape)}; send a 1-D floating tensor with one entry per parameter.",
        )
    if expected_length is not None and len(tensor) != expected_length:
        raise Rejected(
            RejectionReason.INCOMPATIBLE,
            f"The {what} has {len(tensor)} entries, expected {expected_length}: one per parameter.",
        )
    if not is_finite(tensor):
        raise Rejected(RejectionReason.NOT_FINITE, f"The {what} has a NaN or an infinity.")
    return tensor
