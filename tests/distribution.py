"""How the whole suite is shared out between two processes, so that each starts few servers."""

import os
import re

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.servers import REPOSITORY

WORKERS = 2
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


class ByServer(LoadScopeScheduling):
    """Hands out the largest share first, and another to whoever is done."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
