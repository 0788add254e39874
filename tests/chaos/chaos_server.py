"""A server that chaos can be done to: it embeds Ray, and its log survives a full disk."""

import contextlib
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import psutil

from tests.servers import REPOSITORY, Server, command

ENVIRONMENT = {"STARLING_RAY_DASHBOARD": "false"}


class ChaosServer(Server):
    """A server whose log goes through this process, as a service manager's would.

    Attributes:
        look_while_dead: Called after each kill, before it is started again.
    """

    def __init__(self, data_dir: Path, *, database_url: str | None) -> None:
        super().__init__(data_dir, environment=ENVIRONMENT, database_url=database_url)
        self.look_while_dead: Callable[[], None] = lambda: None

    def start(self) -> Self:
        """Start the process; returns at once."""
        self._process = subprocess.Popen(
            command(
                "serve",
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *("--data-dir", str(self.data_dir)),
            ),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
        )
        if self._process.stdout is None:
            raise AssertionError("stdout is a pipe")
        threading.Thread(
            target=_copy_lines, args=(self._process.stdout, self._log), daemon=True
        ).start()
        return self

    def end_with_ray(self) -> None:
        """Kill the server and whatever it started."""
        if self._process is None:
            return
        members: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            members = psutil.Process(self._process.pid).children(recursive=True)
        self.kill_if_running()
        for process in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _copy_lines(source: IO[bytes], target: Path) -> None:
    with source, target.open("ab") as log:
        for line in source:
            log.write(line)
            log.flush()
