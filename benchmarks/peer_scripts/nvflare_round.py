"""Whole rounds of NVFlare in POC mode: its server and clients as processes of this machine."""

import argparse
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from marks import steady_rounds
from processes import all_ended

SCRIPTS = Path(__file__).parent
# Asking how the job does takes the server a connection and a login each time.
ASK_SECONDS = 10.0


def main() -> None:
    """Run `rounds` rounds and print how long each but the first took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--participants", type=int, required=True)
    parser.add_argument("--parameters", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--timeout", type=float, default=280)
    options = parser.parse_args()
    deadline = time.monotonic() + options.timeout
    with tempfile.TemporaryDirectory(prefix="nvflare-") as name, all_ended():
        folder = Path(name)
        # NVFlare writes where it worked last into the home directory.
        os.environ |= {
            "HOME": name,
            "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
            "PYTHONPATH": str(SCRIPTS),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        os.chdir(SCRIPTS)
        with redirect_stdout(sys.stderr):
            run(folder, options, deadline)
        print(steady_rounds(folder / "marks"))  # noqa: T201


def run(folder: Path, options: argparse.Namespace, deadline: float) -> None:
    """Start the services, submit the job and wait until it is done."""
    from nvflare.client.config import ExchangeFormat
    from nvflare.fuel.utils.constants import FrameworkType
    from nvflare.job_config.api import FedJob
    from nvflare.job_config.script_runner import ScriptRunner
    from nvflare.recipe.poc_env import PocEnv
    from nvflare_app import LayersPersistor, MarkedFedAvg

    marks = folder / "marks"
    job = FedJob(name="rounds", min_clients=options.participants)
    job.to_server(LayersPersistor(options.parameters), id="persistor")
    controller = MarkedFedAvg(
        marks=str(marks),
        num_clients=options.participants,
        num_rounds=options.rounds,
        persistor_id="persistor",
    )
    job.to_server(controller)
    runner = ScriptRunner(
        script="nvflare_client.py",
        framework=FrameworkType.NUMPY,
        server_expected_format=ExchangeFormat.NUMPY,
    )
    job.to_clients(runner)
    services = PocEnv(num_clients=options.participants)
    try:
        submitted = services.deploy(job)
        asked = time.monotonic()
        while len(marks.read_text().splitlines() if marks.exists() else []) <= options.rounds:
            time.sleep(0.2)
            if time.monotonic() - asked > ASK_SECONDS:
                asked = time.monotonic()
                status = services.get_job_status(submitted)
                if asked > deadline or (status and status.startswith("FINISHED:")):
                    sys.exit(f"The job is {status}.\n{logs(folder)}")
    finally:
        services.stop()


def logs(folder: Path) -> str:
    """The ends of what the services and their jobs wrote."""
    return "\n".join(
        f"{path}:\n{path.read_text(errors='replace')[-4000:]}"
        for path in sorted(folder.rglob("log.txt"))
    )


main()
