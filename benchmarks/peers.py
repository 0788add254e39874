"""Peers, each in an environment of its own: their dependencies do not agree with ours."""

import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

Peer = Literal["flower", "flower_simulation", "nvflare"]
FOLDER = Path(__file__).parent / "peer_scripts"
ENVIRONMENTS = Path(__file__).parent / ".peers"


def environment(peer: Peer) -> Path:
    """The Python of its environment, made from `peer_scripts/<peer>.txt` when missing or old."""
    home = ENVIRONMENTS / peer
    python = home / "bin" / "python"
    made_from = home / "made-from"
    wanted = _requirements_file(peer).read_text()
    if made_from.exists() and made_from.read_text() == wanted:
        return python
    print(f"Setting up {peer}; the first time this takes some minutes.", file=sys.stderr)  # noqa: T201
    venv.create(home, clear=True, with_pip=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([python, *install, "-r", _requirements_file(peer)], check=True)  # noqa: S603
    made_from.write_text(wanted)
    return python


def requirements(peer: Peer) -> str:
    """What the peer's environment was asked to hold, with versions: "flwr==1.41.0, numpy==…"."""
    return ", ".join(_requirements_file(peer).read_text().split())


def run(
    peer: Peer, script: str, options: Mapping[str, object], *, timeout_seconds: float = 300
) -> dict[str, float]:
    """The JSON object of numbers that a script prints last; raises as `last_line`."""
    printed = last_line(peer, script, options, timeout_seconds=timeout_seconds)
    return cast("dict[str, float]", json.loads(printed))


def last_line(
    peer: Peer, script: str, options: Mapping[str, object], *, timeout_seconds: float
) -> str:
    """Run `peer_scripts/<script>` in the peer's environment; the last line that it prints.

    Options become `--name value`. Scripts import no code of ours.

    Raises:
        subprocess.CalledProcessError: the script failed.
        subprocess.TimeoutExpired: it took too long.
    """
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    done = subprocess.run(  # noqa: S603
        [environment(peer), "-E", FOLDER / script, *arguments],  # nothing of ours on its path
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_seconds,
    )
    return done.stdout.strip().splitlines()[-1]


def _requirements_file(peer: Peer) -> Path:
    return FOLDER / f"{peer}.txt"
