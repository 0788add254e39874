"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    *,
    what: str,
    timeout_seconds: float = 60,
    pause_seconds: float = 0.03,
) -> T:
    """The first truthy value of `condition`.

    Raises:
        AssertionError: it did not become true in time; says `what` was waited for.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {timeout_seconds} s in vain for {what}.")
        time.sleep(pause_seconds)
    return value
