"""How the whole suite is shared out between two processes, so that each starts few servers."""

import os
import re

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.servers import REPOSITORY

WORKERS = 2
# Whose tests take longest comes first, so that no process is left alone with them at the end.
# Found by measuring; what is not here takes less than two minutes.
LONGEST_FIRST = (
    "sqlite",
    "postgresql",
    "tests/console",
    "tests/compute",
    "tests/backend",
    "tests/e2e",
    "tests/client",
    "tests/docs",
    "tests/chaos",
)
_DATABASE = re.compile(r"[\[-](sqlite|postgresql)[\]-]")


def workers(config: pytest.Config) -> int:
    """Two where the whole suite is run and there are cores for them; else 0: this process.

    Whoever names a file or a test waits less when one process starts what it needs.
    """
    whole = {config.invocation_params.dir / argument for argument in config.args} == {
        REPOSITORY / path for path in config.getini("testpaths")
    }
    return WORKERS if whole and len(os.sched_getaffinity(0)) >= WORKERS else 0


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another that shares them out."""
    return hasattr(config, "workerinput")


def share_of(nodeid: str) -> str:
    """What a test must be run together with: the tests on its database, else its folder's.

    The servers of `tests/conftest.py` serve one database each, and those of `tests/compute` no
    other folder; a worker that runs a share to its end starts them once, and the other one never.
    """
    database = _DATABASE.search(nodeid)
    return database[1] if database else "/".join(nodeid.split("/")[:2])


def turn_of(nodeid: str) -> int:
    """Where a test's share stands among all."""
    share = share_of(nodeid)
    return LONGEST_FIRST.index(share) if share in LONGEST_FIRST else len(LONGEST_FIRST)


class ByServer(LoadScopeScheduling):
    """Hands out one share after the other, in the tests' order, to whoever is done."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        # It would put the share with the most tests first.
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
