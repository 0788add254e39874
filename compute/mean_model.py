"""The mean module of an ensemble: its members' architecture with the means of their tensors."""

import torch

from compute.blobs import BlobStore
from compute.contract import AggregationOptions, MakeMean, MeanModel, Rejected, RejectionReason
from compute.formats import inspect_model, load_state_dict, write_like
from compute.state_dicts import require_compatible
from compute.strategies.fedavg import FedAvg


def make_mean(store: BlobStore, order: MakeMean) -> MeanModel:
    """Write the unweighted mean of the members; the same members give the same blob.

    Raises:
        Rejected: there is no member, or two differ in architecture; names the first tensor.
        BlobError: a blob is missing or cannot be written now.
    """
    if not order.keys:
        raise Rejected(RejectionReason.BAD_INPUT, "A mean model needs at least one member.")
    # The mean is FedAvg's with equal weights, with its care for integers and rounding.
    strategy = FedAvg(AggregationOptions())
    with store.local_path(order.keys[0]) as base_path, store.scratch_file() as mean_path:
        base = load_state_dict(base_path)
        state = strategy.init(base, torch.device("cpu"))
        for number, key in enumerate(order.keys):
            with store.local_path(key) as path:
                member = load_state_dict(path)
                try:
                    require_compatible(member, base)
                except Rejected as rejected:
                    raise Rejected(
                        rejected.reason,
                        f"Member {number + 1} does not fit the first: {rejected.detail}",
                    ) from rejected
                strategy.fold_(state, member, 1)
        write_like(base_path, strategy.finish(state, base), mean_path)
        report = inspect_model(mean_path)
        blob = store.put_file(mean_path, consume=True)
    return MeanModel(
        digest=blob.digest,
        size_bytes=blob.size_bytes,
        format=report.format,
        num_parameters=report.num_parameters,
    )
