"""Kills what a scenario says when the participants reach the moment it says."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.journal import Journal
from tests.chaos.kills import Killer
from tests.chaos.scenarios import Kill, Moment, Strike

DRIVER = "driver"
# The last of these to be answered closes a collection.
_CLOSES = {
    Moment.ACCEPTED: (Moment.LAST_ACCEPTED, Moment.AGGREGATING),
    Moment.MOMENTS_ACCEPTED: (Moment.AGGREGATING_MOMENTS,),
}
# When the last of these begins, aggregators are held, if something is to die while they work.
_PRECEDES = {Moment.UPLOAD: Moment.AGGREGATING, Moment.MOMENTS: Moment.AGGREGATING_MOMENTS}


@dataclass(frozen=True)
class Hit:
    """A kill that was done.

    Attributes:
        phase: That the training was in.
    """

    kill: Kill
    moment: Moment
    phase: str


class Striker:
    """Counts who reached what, and strikes when it is a strike's turn.

    Called from the participants' threads, which wait meanwhile, as far as they reached the moment.
    """

    def __init__(
        self,
        strikes: Sequence[Strike],
        *,
        participants: int,
        killer: Killer,
        training_id: str,
        journal: Journal,
    ) -> None:
        self.hits: list[Hit] = []
        self._pending = list(strikes)
        self._participants = participants
        self._killer = killer
        self._training_id = training_id
        self._journal = journal
        self._turns: Counter[tuple[Moment, int]] = Counter()
        self._lock = threading.Lock()
        self._unanswered: list[threading.Thread] = []

    def reach(self, moment: Moment, round: int) -> None:
        """A participant is at this moment of a round, for the first time."""
        with self._lock:
            self._turns[moment, round] += 1
            turn = self._turns[moment, round]
        last = turn == self._participants
        if last and self._plans(_PRECEDES.get(moment), round):
            self._killer.hold_aggregators()
        if moment == Moment.UNANSWERED:
            # The answer must be able to come first, or half-way.
            thread = threading.Thread(
                target=self._strike_all, args=(moment, round, turn), daemon=True
            )
            self._unanswered.append(thread)
            thread.start()
            return
        self._strike_all(moment, round, turn)
        if last and moment in _CLOSES:
            for closing in _CLOSES[moment]:
                self._strike_all(closing, round, 1)
            self._killer.let_aggregators_go()

    def finish(self, timeout_seconds: float) -> None:
        """Wait for kills under way; each that was planned must have been done by then."""
        for thread in self._unanswered:
            thread.join(timeout_seconds)
        for strike in [] if self._journal.wrong else self._pending:
            self._journal.complain(DRIVER, f"there was no occasion for: {strike}")

    def _plans(self, moment: Moment | None, round: int) -> bool:
        with self._lock:
            return any((s.moment, s.round) == (moment, round) for s in self._pending)

    def _strike_all(self, moment: Moment, round: int, turn: int) -> None:
        with self._lock:
            due = [s for s in self._pending if (s.moment, s.round, s.turn) == (moment, round, turn)]
            for strike in due:
                self._pending.remove(strike)
        for strike in due:
            time.sleep(strike.delay_seconds)
            self._journal.note(DRIVER, f"strikes: {strike}")
            phase, done = self._killer.kill(strike.kill, self._training_id, strike.lasting_seconds)
            self._journal.note(DRIVER, f"{strike.kill} in phase {phase}: {done}")
            with self._lock:
                self.hits.append(Hit(strike.kill, strike.moment, phase))
