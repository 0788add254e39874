"""Whole rounds of Flower: a SuperLink, SuperNodes, and an app that moves a model to and fro."""

import argparse
import json
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from marks import steady_rounds
from processes import Programs, all_ended, free_port

SCRIPTS = Path(__file__).parent
BINARIES = Path(sys.executable).parent
APP = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "rounds"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = ["flwr"]

[tool.flwr.app]
publisher = "benchmarks"

[tool.flwr.app.components]
serverapp = "flower_app:server"
clientapp = "flower_app:client"

[tool.flwr.app.config]
"""


def main() -> None:
    """Run `rounds` rounds and print how long each but the first took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--participants", type=int, required=True)
    parser.add_argument("--parameters", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--timeout", type=float, default=280)
    options = parser.parse_args()
    deadline = time.monotonic() + options.timeout
    with tempfile.TemporaryDirectory(prefix="flower-") as name, all_ended():
        run(Path(name), options, deadline)


def run(folder: Path, options: argparse.Namespace, deadline: float) -> None:
    """All in `folder`."""
    port = free_port()
    home, app, marks = folder / "home", folder / "app", folder / "marks"
    home.mkdir()
    app.mkdir()
    shutil.copy(SCRIPTS / "flower_app.py", app)
    config = {
        "participants": options.participants,
        "parameters": options.parameters,
        "rounds": options.rounds,
        "marks": str(marks),
    }
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items())
    (app / "pyproject.toml").write_text(APP + settings)
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    environment = {
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "PYTHONPATH": str(SCRIPTS),
        "PATH": f"{BINARIES}:/usr/bin:/bin",
    }
    programs = Programs(folder, environment)
    here = ["--insecure", "--host", "127.0.0.1"]
    superlink = [BINARIES / "flower-superlink", *here, "--port", str(port)]
    programs.start("superlink", [*superlink, "--disable-runtime-dependency-installation"])
    wait_for_port(port, deadline)
    for participant in range(options.participants):
        ports = ["--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
        node = [BINARIES / "flower-supernode", *here, *ports]
        programs.start(f"supernode{participant}", node)
    submitted = programs.start("run", [BINARIES / "flwr", "run", app, "here"])
    if submitted.wait(timeout=60) != 0:
        sys.exit(f"flwr run failed:\n{programs.log('run')}")
    wanted = options.rounds + 1
    while not marks.exists() or len(marks.read_text().splitlines()) < wanted:
        if time.monotonic() > deadline:
            sys.exit(
                f"Not done in time:\n{programs.log('superlink')}\n{programs.log('supernode0')}"
            )
        time.sleep(0.2)
    print(steady_rounds(marks))  # noqa: T201


def wait_for_port(port: int, deadline: float) -> None:
    """Return when it answers HTTP, whatever it says."""
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("The SuperLink does not answer")


main()
