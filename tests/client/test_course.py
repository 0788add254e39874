"""What a participant is told to do, for every state in which it may look at a training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
from starling_client.calls import Call, Operation, Wait
from starling_client.course import Course, TaskKind, canonical_id, only_training
from starling_client.errors import (
    MissingSetting,
    NotAllowed,
    NotAParticipant,
    NotFound,
    RemovedFromTraining,
    StarlingError,
    TrainingFailed,
    UnknownTraining,
)

T = TypeVar("T")

ME, OTHER, MODEL = (str(UUID(int=number)) for number in (1, 2, 3))
TRAINING = str(UUID(int=17))


class WaitedError(Exception):
    """The operation found nothing to do and waits for the feed."""


@dataclass
class World:
    """What the server would answer."""

    state: str = "O"
    phase: str | None = "collecting"
    round: int = 0
    error: str | None = None
    trainings: Sequence[str] = (TRAINING,)
    participants: Sequence[str] = (ME, OTHER)
    expected: bool = True
    delivered: bool = False
    refusal: StarlingError | None = None
    feed: list[dict[str, Any]] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    def tell(self, kind: str, training: str = TRAINING, **body: object) -> None:
        """Write a notification."""
        self.feed.append(
            {
                "id": len(self.feed) + 1,
                "notification_type": kind,
                "training_uuid": training,
                "body": {"global_model_uuid": MODEL, **body},
                "new_field": "of a later version",
            }
        )

    def run(self, operation: Operation[T]) -> T:
        """Answer until the operation is done. Raises `WaitedError` where it would wait."""
        try:
            step = next(operation)
            while True:
                if isinstance(step, Wait) or step.params.get("wait"):
                    raise WaitedError
                if self.refusal is not None and "/trainings/" in step.path:
                    step = operation.throw(self.refusal)
                else:
                    step = operation.send(self._answer(step))
        except StopIteration as done:
            result: T = done.value
            return result

    def _answer(self, call: Call) -> httpx.Response:
        content: object
        match call.path:
            case "/api/users/myself/notifications/":
                after, limit = call.params["after"], call.params["limit"]
                assert isinstance(after, int)
                assert isinstance(limit, int)
                self.after.append(after)
                content = [one for one in self.feed if one["id"] > after][:limit]
            case "/api/users/myself/":
                content = {"id": ME, "username": "me"}
            case "/api/users/trainings/":
                content = [{"id": one, "state": self.state} for one in self.trainings]
            case str(path) if path.endswith("/participants/"):
                content = [self._standing(user) for user in self.participants]
            case _:
                content = self._training()
        request = httpx.Request("GET", f"http://server{call.path}")
        return httpx.Response(200, content=json.dumps(content), request=request)

    def _standing(self, user: str) -> Mapping[str, object]:
        mine = user == ME
        return {
            "id": user,
            "username": user,
            "expected": not mine or self.expected,
            "delivered": mine and self.delivered,
        }

    def _training(self) -> Mapping[str, object]:
        return {
            "id": TRAINING,
            "state": self.state,
            "model": MODEL,
            "target_num_updates": 5,
            "aggregation_method": "FedAvg",
            "uncertainty_method": "NONE",
            "participants": self.participants,
            "round": self.round,
            "phase": self.phase,
            "error": self.error,
        }


@pytest.mark.parametrize(
    ("notification", "number", "phase", "round", "kind"),
    [
        ("UPDATE_ROUND_START", 2, "collecting", 2, TaskKind.TRAIN),
        ("SWAG_ROUND_START", 3, "collecting_moments", 2, TaskKind.COLLECT_MOMENTS),
        ("MODEL_TEST_ROUND", 3, "testing", 2, TaskKind.EVALUATE),
    ],
)
def test_what_was_asked_last_is_done_while_it_is_open(
    notification: str, number: int, phase: str, round: int, kind: TaskKind
) -> None:
    world = World(phase=phase, round=round)
    world.tell("TRAINING_START")
    world.tell("UPDATE_ROUND_START", round=0)
    world.tell(notification, round=number, mu=0.5)
    world.tell("UPDATE_ROUND_START", training=str(UUID(int=18)), round=9)

    work = world.run(Course(TRAINING).next_work())

    assert work is not None
    assert (work.kind, work.round, str(work.model_id), work.mu) == (kind, number, MODEL, 0.5)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"delivered": True}, id="delivered"),
        pytest.param({"expected": False}, id="not-drawn"),
        pytest.param({"phase": "aggregating"}, id="aggregating"),
        pytest.param({"round": 3}, id="a-later-round"),
        pytest.param({"phase": "testing"}, id="another-phase"),
        pytest.param({"state": "I", "phase": None}, id="not-started"),
    ],
)
def test_what_is_over_or_delivered_is_not_done_again(changes: Mapping[str, Any]) -> None:
    world = World(**{"round": 2, **changes})
    world.tell("UPDATE_ROUND_START", round=2)
    with pytest.raises(WaitedError):
        world.run(Course(TRAINING).next_work())


def test_a_task_is_handed_out_once_and_the_next_one_follows() -> None:
    world, course = World(), Course(TRAINING)
    world.tell("UPDATE_ROUND_START", round=0)
    assert world.run(course.next_work())
    with pytest.raises(WaitedError):
        world.run(course.next_work())

    world.tell("MODEL_TEST_ROUND", round=1)
    world.phase = "testing"
    work = world.run(course.next_work())

    assert work is not None
    assert work.kind is TaskKind.EVALUATE
    assert world.after[-1] == 1


def test_a_long_feed_is_read_to_its_end() -> None:
    world = World(round=1200)
    for number in range(1201):
        world.tell("UPDATE_ROUND_START", round=number)
    work = world.run(Course(TRAINING).next_work())
    assert work is not None
    assert work.round == 1200
    assert world.after == [0, 500, 1000]


def test_the_end_is_an_end() -> None:
    world = World(state="C", phase="closed")
    world.tell("MODEL_TEST_ROUND", round=1)
    world.tell("TRAINING_FINISHED")
    assert world.run(Course(TRAINING).next_work()) is None


def test_a_training_that_was_given_up_says_why() -> None:
    world = World(state="E", phase="closed", error="The actor aborted the training.")
    with pytest.raises(TrainingFailed, match="The actor aborted the training"):
        world.run(Course(TRAINING).next_work())


def test_who_was_never_in_it_is_told_what_to_do() -> None:
    course = Course(TRAINING)
    with pytest.raises(NotAParticipant, match="Ask its actor"):
        World(refusal=NotAllowed("No.", 403)).run(course.next_work())
    with pytest.raises(UnknownTraining, match=r"Training 17 not found\. Ask the actor"):
        World(refusal=NotFound("Training 17 not found.", 400)).run(course.next_work())
    with pytest.raises(NotAParticipant):  # the actor sees the training, and is not in it
        World(participants=(OTHER,)).run(course.next_work())


@pytest.mark.parametrize(
    "refusal", [NotAllowed("No.", 403), NotFound("Training 17 not found.", 400)]
)
def test_who_was_in_it_was_removed(refusal: StarlingError) -> None:
    world, course = World(), Course(TRAINING)
    world.tell("UPDATE_ROUND_START", round=0)
    assert world.run(course.next_work())
    world.refusal = refusal
    with pytest.raises(RemovedFromTraining):
        world.run(course.next_work())


def test_the_only_training_need_not_be_named() -> None:
    assert World().run(only_training()) == TRAINING
    second = str(UUID(int=18))
    with pytest.raises(MissingSetting, match=f"which training to join: {TRAINING}, {second}"):
        World(trainings=(TRAINING, second)).run(only_training())


def test_who_was_not_invited_yet_waits(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(WaitedError):
        World(state="C").run(only_training())
    assert "a training with me in it" in caplog.text


@pytest.mark.parametrize("given", ["", "seventeen", "7" * 40])
def test_what_is_no_id_is_no_training(given: str) -> None:
    with pytest.raises(UnknownTraining, match="is not the id of a training"):
        canonical_id(given)


def test_ids_are_compared_as_the_server_writes_them() -> None:
    assert canonical_id(TRAINING.replace("-", "").upper()) == TRAINING
