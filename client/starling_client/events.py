"""What happens in a training, as it happens: its audit log as a stream of server-sent events."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from starling_client.calls import Call
from starling_client.errors import WrongAddress

# After which nothing comes.
LAST_KINDS = frozenset(
    {"training_completed", "training_failed", "training_aborted", "training_deleted"}
)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a training's audit log.

    Attributes:
        id: Grows along the log; what `follow` takes as `after`.
        at: When it happened.
        kind: Such as `round_opened`, `update_accepted`, `round_aggregated`, `training_completed`.
        who: The user who did it; None: the server.
        round: That it is about, 0-based; None: none in particular.
        details: What the kind has to say.
    """

    id: int
    at: datetime
    kind: str
    who: UUID | None = None
    round: int | None = None
    details: dict[str, Any] = {}

    @property
    def is_last(self) -> bool:
        """Whether the training is over with it."""
        return self.kind in LAST_KINDS


class EventLog:
    """Reads a stream line by line, and knows where the next one goes on.

    Attributes:
        ended: The last event has come.
    """

    def __init__(self, training: UUID | str, after: int) -> None:
        self.ended = False
        self._path = f"/api/trainings/{training}/audit/"
        self._after = after
        self._data: str | None = None

    def call(self) -> Call:
        """Ask for everything above what has come."""
        self._data = None
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._after)}
        return Call("GET", self._path, headers=headers)

    def take(self, line: str) -> Event | None:
        """The event that is complete with this line."""
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data = value.removeprefix(" ")
            return None
        data, self._data = self._data, None
        if not data:
            return None
        try:
            event = msgspec.json.decode(data, type=Event)
        except msgspec.DecodeError as error:
            raise WrongAddress(f"{self._path} tells something else than events: {error}") from error
        self._after = event.id
        self.ended = event.is_last
        return event
