"""Models as bare state dicts."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from compute.blobs import BlobStore
from compute.contract import Rejected, TensorEncoding, WriteStateDict
from compute.formats import load_state_dict
from compute.state_dict_files import write_state_dict
from tests.compute.models import stored
from tests.model_files import exported, pickled, tiny, tiny_file


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tiny_file(), id="torchscript"),
        pytest.param(pickled(tiny()), id="pickled-module"),
        pytest.param(pickled(tiny().state_dict()), id="pickled-state-dict"),
        pytest.param(exported(tiny(), torch.zeros(2, 3)), id="exported-program"),
        pytest.param(safetensors.torch.save(tiny().state_dict()), id="safetensors"),
    ],
)
def test_every_container_gives_the_same_file_each_time(store: BlobStore, content: bytes) -> None:
    model = stored(store, content)

    first = write_state_dict(store, WriteStateDict(key=model.digest))
    second = write_state_dict(store, WriteStateDict(key=model.digest))

    assert first == second
    written = safetensors.torch.load(b"".join(store.read(first.digest)))
    expected = tiny().state_dict()
    assert written.keys() == expected.keys()
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    assert store.size(first.digest) == first.size_bytes


@pytest.mark.parametrize(
    ("encoding", "least"), [(TensorEncoding.BF16, 1.9), (TensorEncoding.INT8, 3.5)]
)
def test_an_encoded_file_is_smaller_and_reads_like_any_other(
    store: BlobStore, encoding: TensorEncoding, least: float
) -> None:
    model = nn.Linear(300, 200)
    blob = stored(store, pickled(model.state_dict()))

    written = write_state_dict(store, WriteStateDict(key=blob.digest, encoding=encoding))
    again = write_state_dict(store, WriteStateDict(key=blob.digest, encoding=encoding))

    assert written == again
    assert blob.size_bytes / written.size_bytes > least
    with store.local_path(written.digest) as path:
        back = load_state_dict(path)
    for name, tensor in model.state_dict().items():
        assert back[name].dtype == tensor.dtype
        torch.testing.assert_close(back[name], tensor, rtol=2**-8, atol=1e-3)


def test_an_encoded_update_is_written_out_in_full(store: BlobStore) -> None:
    blob = stored(store, pickled(tiny().state_dict()))
    encoded = write_state_dict(store, WriteStateDict(key=blob.digest, encoding=TensorEncoding.INT8))

    full = write_state_dict(store, WriteStateDict(key=encoded.digest))

    tensors = safetensors.torch.load(b"".join(store.read(full.digest)))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}
    assert tensors.keys() == tiny().state_dict().keys()


def test_tensors_that_share_memory_are_written_each_by_itself(
    store: BlobStore, tmp_path: Path
) -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    blob = stored(store, pickled(model.state_dict()))

    written = write_state_dict(store, WriteStateDict(key=blob.digest))

    tensors = safetensors.torch.load(b"".join(store.read(written.digest)))
    assert torch.equal(tensors["a.weight"], tensors["b.weight"])
    assert len(tensors) == 4


def test_a_single_tensor_is_no_state_dict(store: BlobStore) -> None:
    blob = stored(store, pickled(torch.zeros(3)))
    with pytest.raises(Rejected):
        write_state_dict(store, WriteStateDict(key=blob.digest))
