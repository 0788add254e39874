"""Participants as processes of their own, one of which dies twice in the middle of a round."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO

import pytest

from tests.federations import Federation, MakeFederation, Person
from tests.servers import REPOSITORY, Server, bare_environment

pytestmark = pytest.mark.e2e


class Participant:
    """A process that runs `tests/client/gated_participant.py`."""

    def __init__(
        self, server: Server, federation: Federation, person: Person, *, gated: bool = False
    ) -> None:
        settings = {
            "STARLING_CLIENT_URL": server.url,
            "STARLING_CLIENT_TOKEN": person.token,
            "STARLING_CLIENT_TRAINING": federation.training_id,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.client.gated_participant", *(["gated"] if gated else [])],
            cwd=REPOSITORY,
            env=bare_environment() | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def next_step(self) -> list[object]:
        """What it says next: the step, kind and round of a task."""
        line = _open(self._process.stdout).readline()
        if not line:
            raise AssertionError(f"It ended: {_open(self._process.stderr).read()}")
        step: list[object] = json.loads(line)
        return step

    def go_on(self) -> None:
        """Let it pass the gate."""
        gate = _open(self._process.stdin)
        gate.write("\n")
        gate.flush()

    def kill(self) -> None:
        """As a crash ends it (SIGKILL)."""
        self._process.kill()
        self._process.communicate()

    def ended(self) -> list[list[object]]:
        """The steps it still says, once it has ended by itself, without a complaint."""
        out, err = self._process.communicate(timeout=120)
        assert (self._process.returncode, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]


def _open(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise AssertionError("The process has no such stream.")
    return stream


@contextlib.contextmanager
def ended_at_last(*participants: Participant) -> Iterator[None]:
    try:
        yield
    finally:
        for participant in participants:
            participant.kill()


def test_a_participant_that_is_killed_goes_on_and_delivers_nothing_twice(
    server: Server, make_federation: MakeFederation
) -> None:
    federation = make_federation(participants=3, rounds=2)
    first, second, third = federation.participants

    killed = Participant(server, federation, third, gated=True)
    with ended_at_last(killed):
        # Trained, nothing sent yet.
        assert killed.next_step() == ["before", "TRAIN", 0]
    killed = Participant(server, federation, third, gated=True)
    with ended_at_last(killed):
        # The round is still open for it; it delivers, and dies while the round waits for others.
        assert killed.next_step() == ["before", "TRAIN", 0]
        killed.go_on()
        assert killed.next_step() == ["ACCEPTED", "TRAIN", 0]
        assert federation.training()["local_models_arrived"] == 1
    others = [Participant(server, federation, person) for person in (first, second)]
    restarted = Participant(server, federation, third)
    with ended_at_last(restarted, *others):
        said = [participant.ended() for participant in (restarted, *others)]

    done = [["EVALUATE", 1], ["TRAIN", 1], ["EVALUATE", 2]]
    assert said[0] == [[s, *task] for task in done for s in ("before", "ACCEPTED")]
    everything = [["TRAIN", 0], *done]
    for steps in said[1:]:
        assert steps == [[s, *task] for task in everything for s in ("before", "ACCEPTED")]
    assert federation.training()["state"] == "C"
    events = federation.actor.client.get(
        f"/api/trainings/{federation.training_id}/audit/", params={"limit": 1000}
    ).json()
    deliveries = Counter(
        (event["kind"], event["who"], event["round"])
        for event in events
        if event["kind"] in {"update_accepted", "test_reported"}
    )
    assert deliveries == {
        (kind, person.id, round): 1
        for kind in ("update_accepted", "test_reported")
        for person in federation.participants
        for round in (0, 1)
    }
