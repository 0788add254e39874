"""Model files that a participant gets and gives."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import safetensors.torch
import torch
from starling_client.errors import BadSubmission, UnusableModel
from starling_client.model_files import load_into_, load_module, write_state
from torch import nn

from tests.model_files import CallsOnLoad, Unlisted, exported, pickled, tiny, torchscript

BATCH = torch.arange(12.0).reshape(4, 3)


def exported_tiny(model: nn.Module) -> bytes:
    return exported(model, BATCH)


@pytest.mark.parametrize("file_of", [torchscript, pickled, exported_tiny])
def test_a_model_in_every_format_computes_what_it_did_and_can_be_trained(
    tmp_path: Path, file_of: Callable[[nn.Module], bytes]
) -> None:
    model = tiny(3).eval()
    path = tmp_path / "model.pt"
    path.write_bytes(file_of(model))

    loaded = load_module(path)

    if file_of is not exported_tiny:  # whose mode is fixed
        loaded.eval()
    torch.testing.assert_close(loaded(BATCH), model(BATCH))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    loaded(BATCH).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(pickled(Unlisted()), "Unlisted, which is no layer", id="own-class"),
        pytest.param(pickled({"w": torch.ones(2)}), "holds a dict", id="no-module"),
        pytest.param(b"rubbish", "no known format", id="rubbish"),
    ],
)
def test_what_cannot_be_loaded_safely_asks_for_a_network(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(UnusableModel, match=rf"(?s){says}.*task\.model\(network\)"):
        load_module(path)


def test_a_pickle_that_calls_something_is_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "model.pt"
    path.write_bytes(pickled(CallsOnLoad(str(trace))))
    with pytest.raises(UnusableModel):
        load_module(path)
    assert not trace.exists()


def test_several_are_loaded_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickled(tiny()))
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(lambda _: load_module(path), range(64)))
    assert {type(model) for model in loaded} == {nn.Sequential}


def test_a_network_of_ones_own_takes_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_state(tiny(1), path)
    network = tiny(2)
    load_into_(network, path)
    for name, tensor in tiny(1).state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_a_network_of_another_shape_is_told_which_tensor_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_state(tiny(), path)
    with pytest.raises(UnusableModel, match=r"0\.weight"):
        load_into_(nn.Sequential(nn.Linear(5, 2)), path)


def test_tensors_are_written_each_by_itself_and_alike_every_time(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {"a": shared, "b": shared, "c": shared.reshape(2, 3).T, "d": torch.tensor(3)}
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        write_state(state, path)
    found = safetensors.torch.load_file(paths[0])
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_model_with_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    state: dict[str, object] = {"a": torch.ones(1), "extra": "text"}
    with pytest.raises(BadSubmission, match="str under 'extra'"):
        write_state(state, tmp_path / "update")  # type: ignore[arg-type]
