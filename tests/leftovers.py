"""Ends whatever a run of the tests started and did not end."""

import contextlib
import os
import secrets
from collections.abc import Iterator

import psutil

# Not STARLING_ or RAY_: those are kept from the servers under test.
MARKER = "STARTED_BY_TEST_RUN"


def mark() -> None:
    """Let every process that this one starts from now on, and their children, carry one mark."""
    os.environ[MARKER] = secrets.token_hex(8)


def end() -> None:
    """Kill every process that carries this one's mark.

    An interrupted run has some: a process that tests run in gets seconds to end its servers.
    """
    for process in _marked(os.environ[MARKER]):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid != os.getpid() and process.environ().get(MARKER) == mark:
                yield process
