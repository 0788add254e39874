"""`starling demo` as a process, and a way to find everything that it started."""

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Self

import psutil

from tests.servers import LEAN, REPOSITORY, bare_environment, command
from tests.waiting import wait_until

MARKER = "DEMO_UNDER_TEST"
DEADLINE_SECONDS = 240


class RunningDemo:
    """A demo whose every descendant carries a mark in its environment, daemons included."""

    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str] = {}) -> None:
        self._mark = secrets.token_hex(8)
        own = {
            MARKER: self._mark,
            "TMPDIR": str(folder),
            # Nothing here looks at the dashboard; without it Ray starts half as many processes.
            "STARLING_RAY_DASHBOARD": "false",
            **LEAN,
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(
            command("demo", *arguments),
            env=bare_environment() | own | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
            # As a terminal does: a process group of its own, which Ctrl-C is sent to.
            start_new_session=True,
        )
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait()
        self._stdout.close()

    @property
    def _stdout(self) -> IO[str]:
        if self.process.stdout is None:
            raise AssertionError("stdout is a pipe")
        return self.process.stdout

    def read_until(self, pattern: str) -> re.Match[str]:
        """The first match in the output, as soon as it is printed."""
        for line in self._stdout:
            self.output += line
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"The demo ended without printing {pattern!r}:\n{self.output}")

    def read_to_end(self) -> int:
        """Exit code, once the demo has ended; all it printed is in `output`."""
        self.output += self._stdout.read()
        return self.process.wait(timeout=DEADLINE_SECONDS)

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> list[psutil.Process]:
        """Every running process that the demo started, directly or not, and the demo itself."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def processes_of(self, module: str) -> list[psutil.Process]:
        return [process for process in self.processes() if module in process.cmdline()]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return (
                process.environ().get(MARKER) == self._mark
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def wait_until_nothing_is_left(self) -> None:
        wait_until(
            lambda: not self.processes(),
            what=f"the end of all that the demo started (left: {self.processes()})",
            # Ray's agents look for a minute for the head that was killed with its server.
            timeout_seconds=120,
        )


def scores_by_round(output: str) -> Iterator[tuple[int, float, float]]:
    """Round, test loss and test accuracy of each line that tells of a complete round."""
    pattern = r"^round +(\d+) of \d+: test loss ([\d.]+), test accuracy ([\d.]+)$"
    for line in re.finditer(pattern, output, flags=re.MULTILINE):
        yield int(line[1]), float(line[2]), float(line[3])
