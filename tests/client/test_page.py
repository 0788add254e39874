"""docs/client.md: its diff is the real one, its commands and snippets do what it says."""

import asyncio
import difflib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from threading import Thread

import pytest
import starling_client
import torch
from starling_client import Starling, SwagMoments, proximal
from torch import nn

from tests.docs.pages import Page
from tests.model_files import tiny
from tests.servers import REPOSITORY, Server, bare_environment

pytestmark = pytest.mark.e2e

PAGE = Page("client.md")
SCRIPTS = REPOSITORY / "examples" / "script"


def test_the_diff_is_the_one_between_the_two_scripts() -> None:
    before, after = (
        (SCRIPTS / name).read_text().splitlines(keepends=True) for name in ("before.py", "after.py")
    )
    real = difflib.unified_diff(before, after, "before.py", "after.py", n=1)
    (shown,) = PAGE.blocks("diff")
    assert shown == "".join(real)
    added = [line for line in shown.splitlines() if re.match(r"\+[^+\"]", line)]
    assert len(added) <= 10


def test_the_actors_program_is_the_real_one() -> None:
    assert f'```python title="actor.py"\n{(SCRIPTS / "actor.py").read_text()}```' in PAGE.text


def test_the_commands_federate_the_script(server: Server, tmp_path: Path) -> None:
    for script in SCRIPTS.glob("*.py"):
        shutil.copy(script, tmp_path)
    register, doctor, train = PAGE.blocks("bash")
    done = subprocess.run(
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", register + doctor + train],
        cwd=tmp_path,
        env=bare_environment()
        | {
            "URL": server.url,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=270,
    )
    logs = "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    findings, outcome = PAGE.blocks("")
    assert masked(findings) in masked(done.stdout)
    # The last line is that of site 0: what it found at the end, as the actor was told.
    *_, last, site = done.stdout.splitlines()
    reached = re.fullmatch(r"after round 5: accuracy (0\.\d{3})", last)
    assert reached, done.stdout
    assert site == f"evaluate, round 5: accuracy {reached[1]}"
    shown = re.search(r"after round 5: accuracy (0\.\d{3})", outcome)
    assert shown
    assert float(reached[1]) == pytest.approx(float(shown[1]), abs=0.02)
    assert [line[:14] for line in outcome.splitlines()] == [
        line[:14] for line in done.stdout.splitlines()[-6:-1]
    ]


def masked(findings: str) -> str:
    """The doctor's findings without what differs from one machine to the next."""
    for pattern, word in (
        (r"\S+ answers in \d+ ms", "URL answers in N ms"),
        (r"starling-client \S+, Python [\d.]+\d, torch \S+\d(\+\w+)?", "versions"),
        (r"Starling \S+\d", "Starling N"),
        (r"user id [0-9a-f-]{36}", "user id ID"),
    ):
        findings = re.sub(pattern, word, findings)
    return findings


def test_the_snippets_take_a_training_to_its_end(server: Server) -> None:
    loop, actor, awaiting = PAGE.blocks("python")
    tokens = {
        name: starling_client.register(server.url, username=name, password="secret-17").token
        for name in ("the-actor", "site-a", "site-b")
    }

    def optimise(model: nn.Module, loss: torch.Tensor) -> None:
        loss.backward()
        torch.optim.SGD(model.parameters(), lr=0.01).step()

    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 0, 1])) for _ in range(3)]
    everything = {
        "starling_client": starling_client,
        "Starling": Starling,
        "SwagMoments": SwagMoments,
        "proximal": proximal,
        "url": server.url,
        "training": None,
        "actor_token": tokens["the-actor"],
        "network": tiny(),
        "inputs": torch.ones(2, 3),
        "batches": batches,
        "criterion": nn.functional.cross_entropy,
        "optimise": optimise,
        "evaluate": lambda model: {"accuracy": float(model(batches[0][0]).mean() > 0)},
        "print": lambda *_: None,
    }

    def run_loop() -> None:
        exec(loop, everything | {"token": tokens["site-a"]})  # noqa: S102 - our own page

    def run_awaiting() -> None:
        names = everything | {"token": tokens["site-b"]}
        exec(f"async def take_part():\n{textwrap.indent(awaiting, '    ')}", names)  # noqa: S102
        asyncio.run(names["take_part"]())

    # Daemons: what one of them waits for may never come, where the other one failed.
    participants = [Thread(target=run, daemon=True) for run in (run_loop, run_awaiting)]
    for participant in participants:
        participant.start()
    exec(actor, everything)  # noqa: S102
    for participant in participants:
        participant.join(timeout=60)
        assert not participant.is_alive()
    with Starling(server.url, tokens["the-actor"]) as starling:
        (training,) = starling.trainings.list()
        assert training.state.is_over
        assert starling.trainings.metrics(training.id).mean("accuracy").keys() == {1}
