"""torch.export archives: honest ones work, and nothing in a forged one is ever run."""

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compute.contract import ModelFormat, Rejected, RejectionReason
from compute.formats import inspect_model, load_module, load_update, write_like
from tests.model_files import drifted, tiny

BATCH = torch.tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as torch.export writes it, for batches of any size."""
    return exported(tiny().eval(), tmp_path_factory.mktemp("exported") / "model.pt2")


def exported(model: nn.Module, path: Path) -> Path:
    sizes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(model, (BATCH,), dynamic_shapes=sizes), path)
    return path


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """`source` with its records changed, through the writer torch itself uses."""
    reader = torch._C.PyTorchFileReader(str(source))
    records = {name: reader.get_record(name) for name in reader.get_all_records()}
    change(records)
    writer = torch._C.PyTorchFileWriter(str(target))
    for name, content in records.items():
        if name not in {"version", "byteorder"} and not name.startswith(".data/"):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return target


def with_program(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(records: dict[str, bytes]) -> None:
        program = json.loads(records["models/model.json"])
        change(program)
        records["models/model.json"] = json.dumps(program).encode()

    return changed


def test_an_archive_is_a_model_like_any_other(archive: Path) -> None:
    report = inspect_model(archive, [None, 3])
    assert report.format is ModelFormat.EXPORTED_PROGRAM
    assert (report.num_parameters, report.num_tensors) == (66, 9)
    assert report.stats is not None
    model = tiny().eval()
    torch.testing.assert_close(load_module(archive)(BATCH), model(BATCH))
    container, state = load_update(archive)
    assert container is ModelFormat.EXPORTED_PROGRAM
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert list(state) == list(model.state_dict())


def test_other_weights_are_written_into_the_same_program(archive: Path, tmp_path: Path) -> None:
    trained = drifted(tiny(), seed=3).eval()
    for name in ("first", "second"):
        write_like(archive, trained.state_dict(), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    torch.testing.assert_close(load_module(tmp_path / "first")(BATCH), trained(BATCH))
    as_clients_do = torch.export.load(io.BytesIO((tmp_path / "first").read_bytes())).module()
    torch.testing.assert_close(as_clients_do(BATCH), trained(BATCH))


class RunsWhenUnpickled:
    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.trap),)


def test_sample_inputs_are_not_unpickled(archive: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    def change(records: dict[str, bytes]) -> None:
        file = io.BytesIO()
        torch.save((RunsWhenUnpickled(trap),), file)
        records["data/sample_inputs/model.pt"] = file.getvalue()

    assert inspect_model(rewritten(archive, tmp_path / "forged", change)).num_parameters == 66
    assert not trap.exists()


def test_pickled_weights_and_constants_are_refused(archive: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    def weights(records: dict[str, bytes]) -> None:
        index = json.loads(records["data/weights/model_weights_config.json"])
        index["config"]["0.weight"]["use_pickle"] = True
        records["data/weights/model_weights_config.json"] = json.dumps(index).encode()
        records["data/weights/weight_0"] = pickle.dumps(RunsWhenUnpickled(trap))

    def constants(records: dict[str, bytes]) -> None:
        payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False}
        index = {"config": {"c": {**payload, "tensor_meta": None}}}
        records["data/constants/model_constants_config.json"] = json.dumps(index).encode()
        records["data/constants/opaque_obj_0"] = pickle.dumps(RunsWhenUnpickled(trap))

    for number, change in enumerate((weights, constants)):
        forged = rewritten(archive, tmp_path / f"forged-{number}", change)
        with pytest.raises(Rejected, match="in a pickle") as caught:
            inspect_model(forged)
        assert caught.value.reason is RejectionReason.UNSAFE
    assert not trap.exists()


def nodes(program: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program["graph_module"]["graph"]["nodes"]
    return found


def size_expression(program: dict[str, Any], text: str) -> None:
    values = program["graph_module"]["graph"]["tensor_values"]
    size = next(s for v in values.values() for s in v["sizes"] if "as_expr" in s)
    size["as_expr"]["expr_str"] = text


def signature(program: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = program["graph_module"]["module_call_graph"][0]["signature"]
    return found


CALL = "__import__('os').mkdir('{trap}')"
DEFAULT_DICT = (
    '[1, {"type": "collections.defaultdict", "context": '
    '"{\\"default_factory_module\\": \\"antigravity\\", \\"default_factory_name\\": \\"x\\"}", '
    '"children_spec": []}]'
)
FORGERIES: dict[str, Callable[[dict[str, Any], str], None]] = {
    "size expression": size_expression,
    "size expression with a method": lambda p, _: size_expression(p, "Symbol('s0').x"),
    "name of a node": lambda p, call: nodes(p)[0].update(name=f"x = {call} #"),
    "name of a parameter": lambda p, call: p["graph_module"]["signature"]["input_specs"][0][
        "parameter"
    ].update(parameter_name=f'0.weight") or {call} or ("'),
    "name of an argument": lambda p, call: signature(p).update(forward_arg_names=[f"input={call}"]),
    "tree of arguments": lambda p, _: signature(p).update(in_spec=DEFAULT_DICT),
    "target that is a function of torch": lambda p, _: nodes(p)[0].update(target="torch.load"),
    "target that opens files": lambda p, _: nodes(p)[0].update(
        target="torch.ops.aten.from_file.default"
    ),
    "target of another library": lambda p, _: nodes(p)[0].update(
        target="torch.ops.profiler._record_function_enter.default"
    ),
    "attribute of the operators": lambda p, _: nodes(p)[0].update(
        target="torch.ops.aten.__class__.mro"
    ),
    "keyword as a name": lambda p, _: nodes(p)[0].update(name="lambda"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_program_that_hides_code_is_refused(archive: Path, tmp_path: Path, forgery: str) -> None:
    trap = tmp_path / "trap"
    call = CALL.format(trap=trap)
    change = with_program(lambda program: FORGERIES[forgery](program, call))
    forged = rewritten(archive, tmp_path / "forged", change)
    with pytest.raises(Rejected, match=r"The torch\.export archive"):
        inspect_model(forged)
    assert not trap.exists()


def test_guards_are_not_run(archive: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    change = with_program(lambda p: p.update(guards_code=[CALL.format(trap=trap)]))
    forged = rewritten(archive, tmp_path / "forged", change)
    torch.testing.assert_close(load_module(forged)(BATCH), tiny().eval()(BATCH))
    assert not trap.exists()


def test_a_weight_that_is_not_all_there_is_refused(archive: Path, tmp_path: Path) -> None:
    forged = rewritten(
        archive,
        tmp_path / "forged",
        lambda records: records.update({"data/weights/weight_0": b"1234"}),
    )
    with pytest.raises(Rejected, match="cannot be read"):
        inspect_model(forged)
