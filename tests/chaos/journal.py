"""What the participants of one run saw, and a timeline of it for whoever reads about a failure."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Accepted:
    """What a participant was answered 201 for."""

    digests: tuple[str, ...]
    sample_size: int


@dataclass(frozen=True)
class Told:
    """A notification as a participant read it from the feed."""

    id: int
    type: str
    round: int | None


@dataclass
class Journal:
    """Grows during a run, from several threads.

    Attributes:
        updates: By round and participant (its place in the training, 0-based).
        moments: Likewise, of SWAG moments.
        reports: Test reports that were answered 201, by round of the model and participant.
        told: By participant, in order of arrival.
        wrong: What was seen that must not happen.
    """

    updates: dict[tuple[int, int], Accepted] = field(default_factory=dict)
    moments: dict[tuple[int, int], Accepted] = field(default_factory=dict)
    reports: dict[tuple[int, int], float] = field(default_factory=dict)
    told: defaultdict[int, list[Told]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._lines: list[str] = []
        self._lock = threading.Lock()

    def note(self, who: str, what: str) -> None:
        """Add a line to the timeline."""
        with self._lock:
            self._lines.append(f"{time.monotonic() - self._began:8.3f}  {who:<6}  {what}")

    def complain(self, who: str, what: str) -> None:
        """Something happened that must not."""
        self.note(who, f"WRONG: {what}")
        with self._lock:
            self.wrong.append(f"{who}: {what}")

    def timeline(self) -> str:
        """What was noted, in order."""
        with self._lock:
            return "\n".join(self._lines)

    def promises(self) -> Mapping[tuple[int, int], Accepted]:
        """A copy of what was promised to be kept so far."""
        with self._lock:
            return dict(self.updates)

    def keep(
        self,
        where: dict[tuple[int, int], Accepted],
        round: int,
        participant: int,
        accepted: Accepted,
    ) -> None:
        """Write down a 201."""
        with self._lock:
            where[round, participant] = accepted
