"""The commands and the program of docs/simulation.md, run as a reader would."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import REPOSITORY, RayCluster, bare_environment

PAGE = (REPOSITORY / "docs" / "simulation.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def files_of_the_page() -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE))


def run(*command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=bare_environment() | {"PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_thousand_participants_are_simulated_as_the_page_says(
    tmp_path: Path, ray_cluster: RayCluster
) -> None:
    (experiment,) = blocks("toml")
    (tmp_path / "digits.toml").write_text(experiment)
    starling = f'starling() {{ {sys.executable} -m backend.cli "$@"; }}\n'

    shown = run(
        *("bash", "-euo", "pipefail", "-c", starling + "".join(blocks("bash"))),
        folder=tmp_path,
        environment=ray_cluster.environment(),
    )

    assert "1000 participants, 20 rounds of FedAvg" in shown
    assert {path.name for path in (tmp_path / "digits").iterdir()} == files_of_the_page()
    assert shown.splitlines()[-3].startswith("round,outcome,drawn,delivered")


def test_the_program_of_the_page_prints_its_rounds(tmp_path: Path) -> None:
    (program,) = blocks("python")
    lines = run(sys.executable, "-c", program, folder=tmp_path, environment={}).splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("9 25 {'weight': ")
    assert {path.name for path in (tmp_path / "fifty").iterdir()} == files_of_the_page()
