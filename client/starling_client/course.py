"""What there is to do in a training, found out from the server alone.

The feed says what was asked; the training and the participant's standing in it say whether it is
still open, and not delivered yet. So nothing has to be remembered across a crash: whoever starts
again reads the feed from its beginning, takes the last thing that was asked, and finds out whether
it is done. Of everything asked before, something newer says that it is over.
"""

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from uuid import UUID

from starling_client.calls import Call, Operation, Wait, fetch
from starling_client.connection import logger
from starling_client.errors import (
    MissingSetting,
    NotAllowed,
    NotAParticipant,
    NotFound,
    RemovedFromTraining,
    TrainingFailed,
    UnknownTraining,
)
from starling_client.wire import (
    Notification,
    Phase,
    Standing,
    Training,
    TrainingListed,
    TrainingState,
    User,
)

FEED_PATH = "/api/users/myself/notifications/"
FEED_PAGE = 500
# Below the idle timeout of most proxies.
POLL_SECONDS = 30
# A webhook may get lost; so the feed is looked at now and then all the same.
WEBHOOK_POLL_SECONDS = 60.0


class TaskKind(Enum):
    """What a participant is asked for.

    Attributes:
        TRAIN: Train the model for a while, and submit it.
        EVALUATE: Submit metrics of the global model.
        COLLECT_MOMENTS: Train on, and submit `SwagMoments`.
    """

    TRAIN = "train"
    EVALUATE = "evaluate"
    COLLECT_MOMENTS = "collect moments"


# Which phase of which round a notification is about: its number is the round's, or one above it.
_ASKED: dict[str, tuple[TaskKind, Phase, int]] = {
    "UPDATE_ROUND_START": (TaskKind.TRAIN, Phase.COLLECTING, 0),
    "SWAG_ROUND_START": (TaskKind.COLLECT_MOMENTS, Phase.COLLECTING_MOMENTS, 1),
    "MODEL_TEST_ROUND": (TaskKind.EVALUATE, Phase.TESTING, 1),
}


@dataclass(frozen=True)
class Work:
    """Something that a participant was asked for.

    Attributes:
        round: As the notification has it: 0-based for training; for the others the number of
            aggregations behind the model.
        model_id: To download from and to deliver to.
        mu: Weight of FedProx's proximal term; 0 with other methods.
        deadline: When it is too late; None: never.
    """

    kind: TaskKind
    training_id: UUID
    round: int
    model_id: UUID
    mu: float = 0.0
    deadline: datetime | None = None

    @property
    def phase(self) -> tuple[Phase, int]:
        """The phase and 0-based round of the training in which it is wanted."""
        for kind, phase, ahead in _ASKED.values():
            if kind is self.kind:
                return phase, self.round - ahead
        raise LookupError(self.kind)


def work_of(notification: Notification) -> Work | None:
    """What a notification asks for; None when it asks for nothing that is known here."""
    body = notification.body
    asked = _ASKED.get(notification.notification_type)
    if asked is None or body.round is None or body.global_model_uuid is None:
        return None
    return Work(
        kind=asked[0],
        training_id=notification.training_uuid,
        round=body.round,
        model_id=body.global_model_uuid,
        mu=body.mu,
        deadline=body.deadline,
    )


def is_open(work: Work, training: Training) -> bool:
    """Whether the training is in the phase in which the work is wanted."""
    return not training.state.is_over and (training.phase, training.round) == work.phase


@dataclass
class Course:
    """One participant's way through one training.

    Attributes:
        woken: Set when there may be something new in the feed, by who takes webhooks; None: the
            feed is asked to wait.
    """

    training_id: str
    woken: threading.Event | None = None
    _after: int = 0
    _asked: Work | None = None
    _handed_out: set[tuple[TaskKind, int]] = field(default_factory=set)
    _me: UUID | None = None
    _metric_names: Sequence[str] = ()

    def next_work(self) -> Operation[Work | None]:
        """What is to be done next, as soon as there is something; None when all is done.

        Each thing is handed out once, whether it was delivered or not.

        Raises:
            UnknownTraining, NotAParticipant: right at the beginning.
            RemovedFromTraining, TrainingFailed: it ended before its end.
        """
        while True:
            # In this order: what happens after the feed was read wakes the wait below.
            if self.woken is not None:
                self.woken.clear()
            yield from self._read_feed(wait_seconds=0)
            training = yield from self.look()
            if training.state is TrainingState.COMPLETED:
                return None
            if training.state is TrainingState.FAILED:
                raise TrainingFailed(training.error or "The training was given up.")
            work = self._asked
            if work is not None and is_open(work, training):
                key = (work.kind, work.round)
                if key not in self._handed_out and (yield from self._is_missing()):
                    self._handed_out.add(key)
                    return work
            if self.woken is None:
                yield from self._read_feed(wait_seconds=POLL_SECONDS)
            else:
                yield Wait(WEBHOOK_POLL_SECONDS, self.woken)

    def is_wanted(self, work: Work) -> Operation[bool]:
        """Whether the training is still where the work is wanted. Raises as `next_work`."""
        training = yield from self.look()
        return is_open(work, training)

    def unreported(self, metrics: Collection[str]) -> list[str]:
        """Those that the actor asks for, and that are not among these."""
        return [name for name in self._metric_names if name not in metrics]

    def is_delivered(self) -> Operation[bool]:
        """Whether the server has what the open phase wants of this participant."""
        standing = yield from self._standing()
        return standing is not None and standing.delivered

    def look(self) -> Operation[Training]:
        """The training as it is now. Raises as `next_work`."""
        try:
            training = yield from fetch(
                Call("GET", f"/api/trainings/{self.training_id}/"), Training
            )
        except NotFound as error:
            if self._me is not None:
                raise RemovedFromTraining(
                    f"Training {self.training_id} was deleted by its actor."
                ) from error
            raise UnknownTraining(
                f"{error.detail} Ask the actor for the id; GET /api/users/trainings/ lists yours.",
                error.status,
            ) from error
        except NotAllowed as error:
            raise self._not_in_it(error.status) from error
        self._metric_names = training.metric_names
        if self._me is None:
            me = yield from fetch(Call("GET", "/api/users/myself/"), User)
            if me.id not in training.participants:
                raise self._not_in_it(403)
            self._me = me.id
        return training

    def _not_in_it(self, status: int) -> NotAParticipant | RemovedFromTraining:
        if self._me is not None:
            return RemovedFromTraining(
                f"This participant was removed from training {self.training_id}."
            )
        return NotAParticipant(
            f"The token's user does not take part in training {self.training_id}. Ask its actor to "
            "register you, and give them your user id (starling-client doctor prints it).",
            status,
        )

    def _is_missing(self) -> Operation[bool]:
        standing = yield from self._standing()
        return standing is not None and standing.expected and not standing.delivered

    def _standing(self) -> Operation[Standing | None]:
        """The participant's own; None: they were removed a moment ago."""
        try:
            listed = yield from fetch(
                Call("GET", f"/api/trainings/{self.training_id}/participants/"), list[Standing]
            )
        except (NotAllowed, NotFound):
            return None
        return next((one for one in listed if one.id == self._me), None)

    def _read_feed(self, *, wait_seconds: int) -> Operation[None]:
        """Take note of what is new in the feed; wait for it if there is nothing."""
        while True:
            page = yield from _feed_page(self._after, wait_seconds=wait_seconds)
            for notification in page:
                self._after = notification.id
                if str(notification.training_uuid) == self.training_id:
                    self._asked = work_of(notification) or self._asked
            if len(page) < FEED_PAGE:
                return
            wait_seconds = 0


def only_training() -> Operation[str]:
    """The id of the one training of the token's user that is not over; waits until there is one.

    Raises:
        MissingSetting: there are several.
    """
    after, told = 0, False
    while True:
        listed = yield from fetch(Call("GET", "/api/users/trainings/"), list[TrainingListed])
        going = [str(training.id) for training in listed if not training.state.is_over]
        if len(going) == 1:
            return going[0]
        if going:
            raise MissingSetting(f"Say which training to join: {', '.join(going)}.")
        if not told:
            me = yield from fetch(Call("GET", "/api/users/myself/"), User)
            logger.warning("Waiting until an actor starts a training with %s in it.", me.username)
            told = True
        page = yield from _feed_page(after, wait_seconds=POLL_SECONDS)
        after = page[-1].id if page else after


def _feed_page(after: int, *, wait_seconds: int) -> Operation[list[Notification]]:
    """The next notifications, as soon as there are any; none when none came in time."""
    return fetch(
        Call(
            "GET",
            FEED_PATH,
            params={"after": after, "wait": wait_seconds, "limit": FEED_PAGE},
            timeout_seconds=wait_seconds + 30.0,
        ),
        list[Notification],
    )


def canonical_id(given: str | UUID) -> str:
    """A training's id as the server writes it.

    Raises:
        UnknownTraining: it is none.
    """
    try:
        return str(UUID(str(given)))
    except ValueError as error:
        raise UnknownTraining(f"{given!r} is not the id of a training.", 400) from error
