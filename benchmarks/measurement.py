"""Timed repetitions of alternatives, taken in turns: what disturbs the machine disturbs all."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REPETITIONS = 5


@dataclass(frozen=True)
class Series:
    """What the repetitions of one case gave, in the case's own unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


Case = Callable[[], float]


def alternate(
    cases: Mapping[str, Case], *, repetitions: int = REPETITIONS, warm_ups: int = 1
) -> dict[str, Series]:
    """Run the cases in turns; each call is one repetition and returns what it measured.

    A case times itself, so that what it prepares does not count.
    """
    for _ in range(warm_ups):
        for case in cases.values():
            case()
    values: dict[str, list[float]] = {name: [] for name in cases}
    for repetition in range(repetitions):
        # Every other turn backwards: nobody always follows the same neighbour.
        names = list(cases) if repetition % 2 == 0 else list(cases)[::-1]
        for name in names:
            values[name].append(cases[name]())
    return {name: Series(tuple(series)) for name, series in values.items()}
