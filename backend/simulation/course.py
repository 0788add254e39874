"""The course of a simulated training: who is drawn, who delivers in time, what follows.

Every decision is made by the functions that a server decides by (`backend.rounds.state`), on a
clock of its own: nobody waits for a deadline. Only who delivers in time is trained at all, since
what comes too late, or never, leaves no trace in a training.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from backend.rounds.daisy_chain import hand_on
from backend.rounds.state import (
    AtDeadline,
    Phase,
    all_updates_in,
    at_deadline,
    draw_cohort,
    phase_after_aggregation,
    phase_after_collection,
    quorum_of,
)
from backend.simulation.experiment import BadExperiment, Experiment
from backend.simulation.population import Population
from compute.simulation.contract import RoundTrained, Share, Simulation

if TYPE_CHECKING:
    from compute.simulation.sessions import VirtualParticipants


class Outcome(StrEnum):
    """How a round ended."""

    AGGREGATED = "aggregated"
    HANDED_ON = "handed_on"
    GIVEN_UP = "given_up"


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """What a round collected.

    Attributes:
        delivered: In time, in the order of their numbers.
        dropped_out: Never; late: after the round had ended.
        needed: How many were enough at the deadline.
        seconds: From the round's start to its end.
        gave_up: There were too few, also at the extended deadline.
    """

    delivered: list[int]
    dropped_out: list[int]
    late: list[int]
    needed: int
    seconds: float
    extended: bool
    gave_up: bool


class Answer(StrEnum):
    """What became of a participant that was asked for an update."""

    DELIVERED = "delivered"
    LATE = "late"
    DROPPED_OUT = "dropped_out"


class Participation(msgspec.Struct, frozen=True):
    """A participant in a round that it was drawn for.

    Attributes:
        participant: Its number.
        after_seconds: From the round's start to its update; None where it dropped out.
    """

    participant: int
    answer: Answer
    after_seconds: float | None


class RoundReport(msgspec.Struct, frozen=True, kw_only=True):
    """One round of a simulation.

    Attributes:
        drawn: How many were asked for an update.
        started_seconds: On the simulated clock, since the training began.
        ended_seconds: Likewise.
        samples: Behind the updates that were aggregated or handed on.
        training: Metrics of the local training, as weighted means.
        test: Metrics of the global model; empty where the round has no test.
        participations: Of all who were drawn, in the order of their numbers.
        wall_seconds: What the round took here; the only figure that two runs differ in.
    """

    round: int
    outcome: Outcome
    drawn: int
    delivered: int
    dropped_out: int
    late: int
    needed: int
    extended: bool
    started_seconds: float
    ended_seconds: float
    samples: int
    training: dict[str, float]
    test: dict[str, float]
    participations: list[Participation]
    wall_seconds: float


def collect(
    answers: Mapping[int, float | None], *, quorum: float | None, deadline_seconds: float | None
) -> Collection:
    """Who delivers before the round ends, as a server ends it.

    Args:
        answers: By participant that was asked, seconds until its update; None: it never comes.

    Raises:
        ValueError: somebody never answers and there is no deadline, so the round never ends.
    """
    expected = {UUID(int=number) for number in answers}
    needed = quorum_of(quorum, len(expected))

    def by(moment: float) -> list[int]:
        return sorted(
            number for number, after in answers.items() if after is not None and after <= moment
        )

    def ended(moment: float, *, extended: bool = False, gave_up: bool = False) -> Collection:
        delivered = by(moment)
        return Collection(
            delivered=delivered,
            dropped_out=sorted(number for number, after in answers.items() if after is None),
            late=sorted(
                number for number, after in answers.items() if after is not None and after > moment
            ),
            needed=needed,
            seconds=moment,
            extended=extended,
            gave_up=gave_up,
        )

    last = max((after for after in answers.values() if after is not None), default=0.0)
    everybody = all_updates_in(expected, {UUID(int=number) for number in by(last)})
    if deadline_seconds is None:
        if not everybody:
            raise ValueError("somebody never answers, and there is no deadline")
        return ended(last)
    for extended in (False, True):
        deadline = deadline_seconds * (2 if extended else 1)
        if everybody and last <= deadline:
            return ended(last, extended=extended)
        decision = at_deadline(delivered=len(by(deadline)), needed=needed, extended=extended)
        if decision is not AtDeadline.EXTEND:
            return ended(deadline, extended=extended, gave_up=decision is AtDeadline.GIVE_UP)
    raise AssertionError("a deadline is extended only once")


def rounds(experiment: Experiment, simulation: Simulation) -> Iterator[RoundReport]:
    """Simulate; each round when it has ended. A round that is given up is the last.

    Raises:
        SimulationFailed: the training cannot go on.
    """
    options, plan, table = experiment.training_options, experiment.plan, experiment.participants
    seed = f"{experiment.seed}:{experiment.name}"
    population = Population(
        table.count,
        response=table.response,
        stragglers=table.stragglers,
        drop_outs=table.drop_outs,
        seed=seed,
    )
    participants = population.ids()
    clock = 0.0
    for index in range(experiment.rounds):
        started = time.perf_counter()
        drawn = participants
        if options.cohort is not None:
            drawn = draw_cohort(participants, options.cohort, f"{seed}:{index}")
        answers = {each.int: population.answer_seconds(index, each.int) for each in drawn}
        collected = collect(
            answers,
            quorum=options.quorum,
            deadline_seconds=options.round_deadline_seconds,
        )
        trained, outcome = RoundTrained(samples=0, metrics={}), Outcome.GIVEN_UP
        if not collected.gave_up:
            members = collected.delivered
            if phase_after_collection(plan, index) is Phase.AGGREGATING:
                trained, outcome = simulation.aggregate(index, members), Outcome.AGGREGATED
            else:
                handed = hand_on(
                    participants, [UUID(int=number) for number in members], f"{seed}:{index}"
                )
                trained = simulation.hand_on(
                    index, members, {heir.int: model.int for heir, model in handed.items()}
                )
                outcome = Outcome.HANDED_ON
        is_tested = (
            outcome is Outcome.AGGREGATED and phase_after_aggregation(plan, index) is Phase.TESTING
        )
        yield RoundReport(
            round=index,
            outcome=outcome,
            drawn=len(drawn),
            delivered=len(collected.delivered),
            dropped_out=len(collected.dropped_out),
            late=len(collected.late),
            needed=collected.needed,
            extended=collected.extended,
            started_seconds=clock,
            ended_seconds=clock + collected.seconds,
            samples=trained.samples,
            training=trained.metrics,
            test=simulation.test() if is_tested else {},
            participations=_participations(answers, collected),
            wall_seconds=time.perf_counter() - started,
        )
        if collected.gave_up:
            return
        clock += collected.seconds
        if options.on_missed == "remove":
            missed = {*collected.dropped_out, *collected.late}
            participants = [each for each in participants if each.int not in missed]


def _participations(
    answers: Mapping[int, float | None], collected: Collection
) -> list[Participation]:
    by_answer = {
        Answer.DELIVERED: collected.delivered,
        Answer.LATE: collected.late,
        Answer.DROPPED_OUT: collected.dropped_out,
    }
    return sorted(
        (
            Participation(number, answer, answers[number])
            for answer, numbers in by_answer.items()
            for number in numbers
        ),
        key=lambda each: each.participant,
    )


@dataclass(frozen=True)
class Simulated:
    """An experiment that is ready to run; iterating over it runs it, once.

    Attributes:
        folder: Where relative paths in the experiment begin.
        is_custom: The participants were given in Python, so the experiment does not describe them.
        reports: Of the rounds until now.
    """

    experiment: Experiment
    simulation: Simulation
    folder: Path
    is_custom: bool
    reports: list[RoundReport] = field(default_factory=list)

    def __iter__(self) -> Iterator[RoundReport]:
        for report in rounds(self.experiment, self.simulation):
            self.reports.append(report)
            yield report

    @property
    def shares(self) -> list[Share]:
        """What each participant holds."""
        return self.simulation.shares

    def save_model(self, path: Path) -> None:
        """Write the global model, as it is now, as safetensors."""
        self.simulation.save(path)


@contextlib.contextmanager
def simulate(
    experiment: Experiment,
    participants: "VirtualParticipants | None" = None,
    *,
    ray_address: str | None = None,
    workers: int | None = None,
    folder: Path | None = None,
) -> Iterator[Simulated]:
    """The experiment, ready to run, with its workers for the time of the context.

        with simulate(experiment) as simulated:
            for report in simulated:
                print(report.round, report.test)
            save_results(simulated, Path("results"))

    Args:
        participants: Of one's own (`compute.simulation.custom`), in place of the experiment's
            tables `data`, `model` and `local`; as many as `participants.count` says.
        ray_address: Cluster to use; None: the one that this process is connected to, or one that is
            started on this machine and ended afterwards.
        workers: How many; None: one per CPU; 0: all in this process, without Ray.
        folder: Where relative paths in the experiment begin; None: the current one.

    Raises:
        BadExperiment: the experiment cannot be run.
        SimulationFailed: the participants cannot be made.
        ConnectionError: there is no cluster at the address.
    """
    from compute.simulation.sessions import open_simulation

    experiment.check()
    folder = folder or Path()
    chosen = participants or experiment.classification(folder)
    with open_simulation(
        chosen,
        strategy=experiment.strategy,
        options=experiment.aggregation_options,
        ray_address=ray_address,
        workers=workers,
    ) as simulation:
        count = experiment.participants.count
        if len(simulation.shares) != count:
            raise BadExperiment(
                f"participants.count: it is {count}, but {len(simulation.shares)} are given."
            )
        yield Simulated(experiment, simulation, folder, is_custom=participants is not None)
