"""Workers on a real cluster: the same bits as in one process, also when one dies."""

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import REPOSITORY, RayCluster, bare_environment

# A process of its own: whoever runs the tests may be connected to another cluster.
PROGRAM = """
import hashlib, json, os, sys
from pathlib import Path

import torch

from compute.simulation.contract import SimulationFailed
from compute.simulation.custom import CustomParticipants
from compute.simulation.ray_workers import RayWorkers, connected
from compute.simulation.simulator import Simulator
from compute.simulation.workers import InProcessWorkers

FOLDER = Path(sys.argv[1])


def make_model():
    return torch.nn.Linear(300, 40)


def train(model, share, round, seed):
    killed = FOLDER / "killed"
    if mode == "kill" and share == 90 and not killed.exists():
        killed.touch()
        os._exit(1)
    if mode == "raise" and share == 3:
        raise LookupError("no such sample")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * share)
    return share + 1, {"share": share}


def outcome(workers):
    simulator = Simulator(participants, workers)
    try:
        figures = [simulator.aggregate(number, range(100)).metrics for number in range(2)]
    except SimulationFailed as failed:
        return str(failed)
    digest = hashlib.sha256()
    for tensor in simulator.state.values():
        digest.update(tensor.numpy().tobytes())
    return [digest.hexdigest(), figures]


participants = CustomParticipants(
    make_model=make_model, shares=range(100), train=train, sizes=lambda share: share
)
found = {}
mode = "count"
found["here"] = outcome(InProcessWorkers(participants))
with connected(os.environ["RAY_ADDRESS"], None):
    found["3 workers"] = outcome(RayWorkers(participants, 3))
    mode = "kill"
    found["one dies"] = outcome(RayWorkers(participants, 2))
    mode = "raise"
    found["raises"] = outcome(RayWorkers(participants, 1))
found["killed"] = (FOLDER / "killed").exists()
print(json.dumps(found))
"""


def test_any_number_of_workers_gives_the_same_bits_and_one_may_die(
    tmp_path: Path, ray_cluster: RayCluster
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=bare_environment() | ray_cluster.environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"]
    assert found["3 workers"] == found["one dies"] == found["here"]
    assert found["raises"] == "The training function failed: LookupError: no such sample"
