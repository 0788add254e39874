"""Has rounds computed again by a process of their own, since this one must not load torch."""

import asyncio
import contextlib
import sys
from typing import Self

import msgspec

from compute.contract import Recomputed, RecomputeOrder


class RecomputationFailed(Exception):
    """The process ended without an answer."""


class Recomputer:
    """A `compute.verification` process, started when it is first needed."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # it writes nothing that anybody needs
        await self._process.wait()

    async def __call__(self, order: RecomputeOrder) -> Recomputed:
        """What the order's round gives; one order at a time.

        Raises:
            RecomputationFailed: the process ended, perhaps for want of memory.
        """
        process = await self._started()
        if process.stdin is None or process.stdout is None:
            raise RecomputationFailed("The process has no pipes.")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            code = await process.wait()
            raise RecomputationFailed(f"The process that aggregates again ended with code {code}.")
        return msgspec.json.decode(line, type=Recomputed)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            # -P: a folder `compute` in the current directory is not ours.
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "compute.verification"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        return self._process
