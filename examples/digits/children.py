"""The processes that the demo starts, each ended with everything it started itself."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GRACE_SECONDS = 20.0


class DemoFailed(Exception):
    """The demo cannot go on; the message is the one line that says why."""


@dataclass(frozen=True)
class Child:
    """A running Python module, in a process group of its own.

    The terminal's Ctrl-C therefore reaches the demo only, which ends its children in order.
    """

    name: str
    process: Process
    log: Path

    async def ended(self) -> int:
        """Exit code, once there is one."""
        return await self.process.wait()

    async def read_line(self) -> bytes:
        """The next line the child wrote to stdout; empty when it will write no more."""
        if self.process.stdout is None:
            raise ValueError(f"{self.name} was started without a pipe for its stdout")
        return await self.process.stdout.readline()

    async def write_line(self, line: bytes) -> None:
        if self.process.stdin is None:
            raise ValueError(f"{self.name} was started without a pipe for its stdin")
        self.process.stdin.write(line + b"\n")
        await self.process.stdin.drain()

    def last_words(self) -> str:
        """The last line of the child's log that says something."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it wrote nothing"

    async def stop(self) -> None:
        """End the child: it is asked first, and killed with its group after a while."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), GRACE_SECONDS)
            except TimeoutError:
                self.kill()
                await self.process.wait()

    def kill(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)


async def start_module(
    module: str,
    *arguments: str,
    name: str,
    log: Path,
    environ: Mapping[str, str] | None = None,
    talks: bool = False,
) -> Child:
    """Start `python -m module`; what it writes to stderr goes to the file `log`.

    Args:
        environ: The whole environment of the child; None: that of this process.
        talks: Whether stdin and stdout are pipes to this process. Otherwise the child reads
            nothing, and its stdout goes to the log too.
    """
    with log.open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=PIPE if talks else asyncio.subprocess.DEVNULL,
            stdout=PIPE if talks else log_file,
            stderr=log_file,
            env=environ,
            process_group=0,
        )
    return Child(name, process, log)
