"""Pages of the documentation, and their commands run as a reader would."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import httpx

from tests.servers import REPOSITORY, START_TIMEOUT_SECONDS, bare_environment
from tests.waiting import wait_until

FOLDER = REPOSITORY / "docs"
STOP_TIMEOUT_SECONDS = 20
BASH = shutil.which("bash") or "/bin/bash"
DOCUMENTED_URL = "http://127.0.0.1:8000"
_FENCED = re.compile(r'^```([a-z]*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Page:
    """One page, by its path below docs/."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def text(self) -> str:
        return (FOLDER / self.name).read_text()

    def languages(self) -> set[str]:
        """The languages that blocks of the page are in; of a mere output it is empty."""
        return {language for language, _, _ in _FENCED.findall(self.text)}

    def blocks(self, language: str) -> list[str]:
        """The blocks in one language that are no files, in their order."""
        return [
            block
            for found, title, block in _FENCED.findall(self.text)
            if found == language and not title
        ]

    def file(self, title: str) -> str:
        """The block that is to be saved under this name."""
        (content,) = (block for _, name, block in _FENCED.findall(self.text) if name == title)
        return str(content)


def reader(environment: Mapping[str, str] = {}) -> dict[str, str]:
    """The environment of a reader whose virtual environment is active."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return bare_environment() | {"PATH": programs} | dict(environment)


def run(commands: str, folder: Path, environment: Mapping[str, str]) -> str:
    """What bash prints for the commands, none of which may fail."""
    done = subprocess.run(
        [BASH, "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env=reader(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def serving(commands: str, url: str, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """The server that these commands start, from the moment it is ready; stopped as by Ctrl-C."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BASH, "-euo", "pipefail", "-c", commands],
            cwd=REPOSITORY,
            env=reader({"STARLING_PASSWORD_HASHING": "owasp", **environment}),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ready() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"The server ended:\n{log.read_text()}")
        try:
            return httpx.get(f"{url}/health/ready", timeout=30).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(
            ready, what="the server", timeout_seconds=START_TIMEOUT_SECONDS, pause_seconds=0.1
        )
        yield
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=STOP_TIMEOUT_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
