"""What verifying a training finds."""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

import msgspec

# Of each check; more are counted and not shown.
MAX_DIFFERENCES_SHOWN = 10


class Check(StrEnum):
    """What is checked against the log."""

    LOG = "log"
    TRAINING = "training"
    UPDATES = "updates"
    VERSIONS = "versions"
    BLOBS = "blobs"
    ROUND = "round"
    MOMENTS = "moments"


class Outcome(StrEnum):
    """How a check ended.

    SAME_TENSORS: computed again, every tensor has the same bits; another torch wrote other bytes
    around them. UNDECIDED: so it may be, but the version is not kept to compare with. HANDED_ON,
    GIVEN_UP, OPEN: of rounds without an aggregation, whose updates were checked.
    """

    VERIFIED = "verified"
    DIFFERENT = "different"
    NOT_KEPT = "not_kept"
    SAME_TENSORS = "same_tensors"
    UNDECIDED = "undecided"
    HANDED_ON = "handed_on"
    GIVEN_UP = "given_up"
    OPEN = "open"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One result; `detail` is a sentence for people."""

    check: Check
    outcome: Outcome
    round: int | None = None
    detail: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The result of all checks.

    Attributes:
        verdict: VERIFIED unless something differs.
        events: Length of the log.
        last_digest: Of the newest event; it stands for the whole log up to there.
        rounds: Outcome to number of rounds; of SWAG moments too.
        differences: Check to number of differences.
    """

    training: str
    verdict: Outcome
    events: int
    last_digest: str
    rounds: dict[str, int]
    differences: dict[str, int]


class Findings:
    """Passes findings on as they come, and counts them."""

    def __init__(self, show: Callable[[Finding], None]) -> None:
        self._show = show
        self.rounds: Counter[str] = Counter()
        self.differences: Counter[str] = Counter()

    def differs(self, check: Check, detail: str, *, round: int | None = None) -> None:
        """Something is not as the log says."""
        self.differences[check.value] += 1
        if self.differences[check.value] <= MAX_DIFFERENCES_SHOWN:
            finding = Finding(check=check, outcome=Outcome.DIFFERENT, round=round, detail=detail)
            self._show(finding)

    def concludes(self, check: Check, detail: str) -> None:
        """A check is over; it is verified unless it found a difference."""
        hidden = self.differences[check.value] - MAX_DIFFERENCES_SHOWN
        if hidden > 0:
            detail = f"{hidden} more differences are not shown."
            self._show(Finding(check=check, outcome=Outcome.DIFFERENT, detail=detail))
        elif not self.differences[check.value]:
            self._show(Finding(check=check, outcome=Outcome.VERIFIED, detail=detail))

    def of_round(self, check: Check, index: int, outcome: Outcome, detail: str) -> None:
        """What a round, or its moments, came to."""
        self.rounds[outcome.value] += 1
        if outcome == Outcome.DIFFERENT:
            self.differs(check, detail, round=index)
        else:
            self._show(Finding(check=check, outcome=outcome, round=index, detail=detail))
