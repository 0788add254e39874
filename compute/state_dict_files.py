"""Models' tensors as safetensors files, for participants who need no module."""

import safetensors.torch
from torch import Tensor

from compute.blobs import BlobStore
from compute.contract import WriteStateDict, WrittenStateDict
from compute.encodings import METADATA_KEY, encoded
from compute.formats import load_state_dict
from compute.state_dicts import StateDict


def write_state_dict(store: BlobStore, order: WriteStateDict) -> WrittenStateDict:
    """The blob with the tensors of another one; the same order gives the same bytes.

    Tensors that share memory are written each by itself.

    Raises:
        Rejected: the blob holds no tensors by name.
        BlobError: it is not there, or the store fails.
    """
    with store.local_path(order.key) as path, store.scratch_file() as out_path:
        state = load_state_dict(path)
        # One key only: safetensors writes several in no fixed order.
        metadata = {"format": "pt"}
        if order.encoding is not None:
            state, table = encoded(state, order.encoding)
            metadata = {METADATA_KEY: table}
        safetensors.torch.save_file(_unshared(state), out_path, metadata)
        blob = store.put_file(out_path, consume=True)
    return WrittenStateDict(digest=blob.digest, size_bytes=blob.size_bytes)


def _unshared(state: StateDict) -> StateDict:
    seen: set[int] = set()
    written: dict[str, Tensor] = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage().data_ptr()
        written[name] = tensor.clone() if storage in seen else tensor.contiguous()
        seen.add(storage)
    return written
