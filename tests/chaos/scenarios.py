"""What will be killed, and when: dealt from a seed before anything runs.

Kinds of kills, and the moments of each kind, are dealt like cards: none comes again before all have
come once, so every kind and every pair of kind and moment has its share of any number of runs.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

CardT = TypeVar("CardT")

MOST_PARTICIPANTS = 5
MOST_ROUNDS = 3
# Sample sizes of a round sum to it: a power of two, so that the mean is exact.
TOTAL_SAMPLES = 8


class Database(StrEnum):
    """What the server keeps its truth in."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class Kill(StrEnum):
    """What is taken away.

    BACKEND: SIGKILL of the server process, which is started again.
    AGGREGATOR: SIGKILL of the aggregators' worker processes.
    WORKER: SIGKILL of every other worker process of Ray.
    RAY: SIGKILL of every process of the embedded cluster; the backend lives on.
    DATABASE: PostgreSQL ends every connection, or is killed and started again; SQLite is locked by
        somebody else for a while.
    DISK: for a while, no file that the backend or a worker writes may grow.
    """

    BACKEND = "backend"
    AGGREGATOR = "aggregator"
    WORKER = "worker"
    RAY = "ray"
    DATABASE = "database"
    DISK = "disk"


class Moment(StrEnum):
    """When, as a participant or the driver sees it."""

    DOWNLOAD = "during a download"
    UPLOAD = "during an upload"
    UNANSWERED = "before an upload is answered"
    ACCEPTED = "after a 201"
    LAST_ACCEPTED = "after the last 201"
    AGGREGATING = "while it aggregates"
    MOMENTS = "during an upload of moments"
    MOMENTS_ACCEPTED = "after a 201 for moments"
    AGGREGATING_MOMENTS = "while it averages moments"
    ASKED_TO_TEST = "before a test report"
    REPORTED = "after a test report's 201"


OF_SWAG = frozenset({Moment.MOMENTS, Moment.MOMENTS_ACCEPTED, Moment.AGGREGATING_MOMENTS})
# Reached once in a round, the others once by each participant.
ONCE = frozenset({Moment.LAST_ACCEPTED, Moment.AGGREGATING, Moment.AGGREGATING_MOMENTS})


@dataclass(frozen=True)
class Strike:
    """One kill.

    Attributes:
        turn: It is done when the moment is reached for this time in its round, 1-based.
        delay_seconds: Between the moment and the kill.
        lasting_seconds: How long what was taken away stays away, where that can be chosen.
    """

    kill: Kill
    moment: Moment
    round: int
    turn: int
    delay_seconds: float
    lasting_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.kill} {self.moment} (round {self.round}, turn {self.turn}, "
            f"after {self.delay_seconds * 1000:.0f} ms, for {self.lasting_seconds:.1f} s)"
        )


@dataclass(frozen=True)
class Scenario:
    """One training and what is done to it.

    Attributes:
        number: Its place in the campaign.
        seed: Everything random in it comes from here.
        keeps_updates: Whether updates outlive their aggregation, so that it can be done again.
        sample_sizes: One of each participant; their sum is a power of two.
    """

    number: int
    seed: int
    database: Database
    rounds: int
    swag: bool
    keeps_updates: bool
    sample_sizes: tuple[int, ...]
    strikes: tuple[Strike, ...]


class Deck(Generic[CardT]):
    """Deals every card once, in random order, before any comes again."""

    def __init__(self, rng: random.Random, cards: Sequence[CardT]) -> None:
        self._rng = rng
        self._cards = list(cards)
        self._left: list[CardT] = []

    def deal(self) -> CardT:
        """The next card."""
        if not self._left:
            self._left = self._cards.copy()
            self._rng.shuffle(self._left)
        return self._left.pop()


def campaign(seed: int, runs: int, databases: Sequence[Database]) -> list[Scenario]:
    """The first `runs` scenarios of a seed; they take turns on the databases.

    A longer campaign of the same seed begins with the same scenarios.
    """
    rng = random.Random(seed)
    kills = Deck(rng, list(Kill))
    moments = {kill: Deck(rng, list(Moment)) for kill in Kill}
    strikes_per_run = Deck(rng, [1, 2, 2, 3])
    dealt = []
    for number in range(runs):
        rounds = rng.randint(1, MOST_ROUNDS)
        sizes = _sample_sizes(rng, rng.randint(2, MOST_PARTICIPANTS))
        strikes = []
        for _ in range(strikes_per_run.deal()):
            kill = kills.deal()
            moment = moments[kill].deal()
            strikes.append(_strike(rng, kill, moment, rounds=rounds, participants=len(sizes)))
        swag = any(strike.moment in OF_SWAG for strike in strikes) or rng.random() < 0.1
        dealt.append(
            Scenario(
                number=number,
                seed=rng.getrandbits(32),
                database=databases[number % len(databases)],
                rounds=rounds,
                swag=swag,
                keeps_updates=rng.random() < 0.5,
                sample_sizes=sizes,
                strikes=tuple(strikes),
            )
        )
    return dealt


def _strike(
    rng: random.Random, kill: Kill, moment: Moment, *, rounds: int, participants: int
) -> Strike:
    last_turn = participants
    if moment in ONCE:
        last_turn = 1
    elif moment in {Moment.ACCEPTED, Moment.MOMENTS_ACCEPTED}:
        last_turn = participants - 1  # the last one has a moment of its own
    # Half at once, half some time later: what follows a moment takes tens of milliseconds.
    delay_seconds = rng.choice([0.0, rng.uniform(0.0, 0.08)])
    return Strike(
        kill=kill,
        moment=moment,
        round=rng.randrange(rounds),
        turn=rng.randint(1, last_turn),
        delay_seconds=delay_seconds,
        lasting_seconds=rng.uniform(0.3, 2.5),
    )


def _sample_sizes(rng: random.Random, participants: int) -> tuple[int, ...]:
    """Positive numbers that sum to `TOTAL_SAMPLES`."""
    cuts = sorted(rng.sample(range(1, TOTAL_SAMPLES), participants - 1))
    return tuple(end - start for start, end in zip([0, *cuts], [*cuts, TOTAL_SAMPLES], strict=True))
