"""Rounds of Flower's simulation engine on two CPUs of Ray; prints how long they took."""

import argparse
import json
import logging
import os
import time
from pathlib import Path

import flower_simulation_app as app
from flwr.simulation import run_simulation

logging.getLogger("flwr").setLevel(logging.ERROR)


def main() -> None:
    """Simulate, and print seconds of the first round (start of Ray included) and of the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--participants", type=int, required=True)
    parser.add_argument("--cpus", type=int, required=True)
    options = parser.parse_args()
    marks = options.folder / "rounds"
    marks.unlink(missing_ok=True)
    os.environ[app.SETTINGS] = str(options.folder)
    started = time.time()
    run_simulation(
        app.server,
        app.client,
        num_supernodes=options.participants,
        backend_config={
            "init_args": {
                "num_cpus": options.cpus,
                "logging_level": "ERROR",
                "log_to_driver": False,
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    lines = [line.split() for line in marks.read_text().splitlines()]
    # Round 0 is the evaluation of the initial model.
    ended = [float(when) for number, when, _ in lines if int(number) > 0]
    found = {
        "first_seconds": ended[0] - started,
        "round_seconds": (ended[-1] - ended[0]) / (len(ended) - 1),
    }
    print(json.dumps(found))  # noqa: T201


main()
