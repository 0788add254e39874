"""Turns what a worker answered into what the gateway's callers expect."""

from typing import TypeVar

from compute.actors import Failure, Refusal
from compute.contract import Rejected
from compute.gateway import ComputeUnavailable

_Result = TypeVar("_Result")


def unpacked(outcome: _Result | Refusal | Failure) -> _Result:
    """The result in a worker's answer.

    Raises:
        Rejected: the upload was refused.
        ComputeUnavailable: the worker could not do it now.
    """
    if isinstance(outcome, Refusal):
        raise Rejected(outcome.reason, outcome.detail)
    if isinstance(outcome, Failure):
        raise ComputeUnavailable(outcome.detail)
    return outcome


def expected(kind: type[_Result], outcome: object) -> _Result:
    """`outcome`, which must be a `kind`.

    Raises:
        ComputeUnavailable: a worker of another version answered something else.
    """
    if not isinstance(outcome, kind):
        message = f"A worker answered {type(outcome).__name__} instead of {kind.__name__}."
        raise ComputeUnavailable(message)
    return outcome
