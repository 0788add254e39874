"""Delivery of callbacks to a real HTTP server."""

import socket

import pytest

from compute.callbacks import CallbackRefused, CallbackUndelivered, deliver
from compute.contract import CallbackTarget, RoundAggregated, RoundFailed, RoundFigures
from tests.compute.callback_server import CallbackServer

AGGREGATED = RoundAggregated(
    training_id="t",
    round=3,
    digest="0" * 64,
    size_bytes=7,
    figures=RoundFigures(
        updates={}, total_samples=1, fold_seconds=0.1, write_seconds=0.2, device="cpu"
    ),
)


def test_a_callback_arrives_whole_and_signed(backend: CallbackServer) -> None:
    deliver(backend.target, AGGREGATED)
    assert backend.received == [AGGREGATED]
    assert backend.signatures_were_genuine == [True]


def test_each_kind_of_callback_is_told_apart(backend: CallbackServer) -> None:
    failed = RoundFailed(training_id="t", round=1, reason="because")
    deliver(backend.target, failed)
    assert backend.received == [failed]


def test_another_secret_does_not_verify(backend: CallbackServer) -> None:
    deliver(CallbackTarget(url=backend.target.url, secret="another"), AGGREGATED)
    assert backend.signatures_were_genuine == [False]


def test_a_backend_that_fails_for_a_while_is_asked_again(backend: CallbackServer) -> None:
    backend.statuses = [503, 500, 429]
    deliver(backend.target, AGGREGATED)
    assert backend.received == [AGGREGATED] * 4
    assert all(backend.signatures_were_genuine)


@pytest.mark.parametrize("status", [409, 410])
def test_a_round_that_is_no_longer_open_ends_the_delivery(
    backend: CallbackServer, status: int
) -> None:
    backend.statuses = [status]
    deliver(backend.target, AGGREGATED)
    assert len(backend.received) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_a_refusal_is_raised_and_not_repeated(backend: CallbackServer, status: int) -> None:
    backend.statuses = [status]
    with pytest.raises(CallbackRefused, match=str(status)):
        deliver(backend.target, AGGREGATED)
    assert len(backend.received) == 1


def test_a_backend_that_is_away_for_too_long_is_given_up() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        target = CallbackTarget(url=f"http://127.0.0.1:{closed.getsockname()[1]}/", secret="s")
        with pytest.raises(CallbackUndelivered, match="did not take the callback"):
            deliver(target, AGGREGATED, give_up_after_seconds=0.5)


def test_a_backend_that_fails_for_too_long_is_given_up(backend: CallbackServer) -> None:
    backend.statuses = [503] * 1000
    with pytest.raises(CallbackUndelivered, match="503"):
        deliver(backend.target, AGGREGATED, give_up_after_seconds=0.5)
    assert len(backend.received) > 1
