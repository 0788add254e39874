"""Metrics of trainings as series over their rounds: of each reporter, and of all together.

What the global series is, one SQL expression says, for charts and overviews alike: the mean over
participants, for the actor weighted by the sample size of each one's latest update accepted before
the test (1 where there is none). Participants get the plain mean, and no mean of what came with
updates: they may see every test of the global model, so that a weighted mean would tell them the
others' sample sizes, which are nobody's but the actor's.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from uuid import UUID

import msgspec

from backend.db.tables import Metric, Training
from backend.security.caller import Caller

# Of single reporters, in one answer; some megabytes of JSON.
MAX_VALUES = 100_000
MAX_ROUNDS = 10_000

Point = tuple[int, float | None]


class SeriesKind(StrEnum):
    """Where the values were measured."""

    TEST = "test"
    UPDATE = "update"


class Series(msgspec.Struct, kw_only=True, frozen=True):
    """Values of one metric in the order of rounds; null: it was no finite number.

    Attributes:
        kind: `test`: of the global model after so many aggregations; `update`: sent with the
            updates of that round, which were trained from that model.
        reporter: Null: the mean over the participants.
    """

    key: str
    kind: SeriesKind
    reporter: UUID | None
    points: list[Point]


class TrainingMetrics(msgspec.Struct, kw_only=True, frozen=True):
    """What was measured in a training.

    Attributes:
        main: The first of the training's metric names that has a series, else the first key.
        complete: False: series of single reporters begin later than there are values; only the
            newest rounds, of at most `MAX_VALUES` values of a kind, are given.
    """

    main: str | None
    series: list[Series]
    complete: bool


class _Source(msgspec.Struct, frozen=True):
    """Where values of one kind are, in SQL.

    Attributes:
        weight: Of a report in the mean that the actor sees.
        takes_part: Whether the reporter is one of the participants; the actor may measure too.
        tables: `t` is the training, `m` the metric.
    """

    round: str
    weight: str
    takes_part: str
    tables: str


_SOURCES = {
    SeriesKind.TEST: _Source(
        round="m.step",
        weight="""COALESCE((
            SELECT l.sample_size FROM local_model l
            WHERE l.training = t.id AND l.owner = m.reporter AND l.round < m.step
            ORDER BY l.round DESC LIMIT 1), 1)""",
        takes_part="""m.reporter <> t.actor OR EXISTS (
            SELECT 1 FROM participant p WHERE p.training = t.id AND p."user" = t.actor)""",
        tables="training t JOIN metric m ON m.model = t.model",
    ),
    SeriesKind.UPDATE: _Source(
        round="l.round",
        weight="l.sample_size",
        takes_part="1 = 1",
        tables="""training t JOIN local_model l ON l.training = t.id
            JOIN metric m ON m.model = l.id AND m.reporter = l.owner""",
    ),
}
# PostgreSQL refuses to multiply or divide where the result has no place in a double.
_SUMMED = """CASE WHEN ABS(m.value_float) > 1e100 THEN NULL
    WHEN ABS(m.value_float) < 1e-100 THEN 0 ELSE m.value_float END"""


async def means(
    trainings: Collection[UUID],
    caller: Caller,
    kind: SeriesKind,
    *,
    rounds: int = MAX_ROUNDS,
    only: Mapping[UUID, str] | None = None,
) -> dict[UUID, dict[str, list[Point]]]:
    """The global series of each training, by key, over its last rounds.

    Of the kind `update`, who is not the actor gets the mean of their own alone.

    Args:
        only: Of every training the one key that is wanted; None: all.
    """
    source = _SOURCES[kind]
    condition, arguments = _readable(trainings, caller, kind, rounds)
    if only is not None:
        of_keys, more = _having(only)
        condition += f" AND ({of_keys})"
        arguments += more
    rows = await Metric.raw(
        # Of several reports by one reporter, the last one counts.
        f"WITH report AS (SELECT t.id AS training, m.key, {source.round} AS round, "  # noqa: S608 - of constants; values are parameters
        f"{_SUMMED} AS value, CASE WHEN NOT ({source.takes_part}) THEN NULL "
        f"WHEN t.actor <> {{}} THEN 1.0 ELSE CAST({source.weight} AS DOUBLE PRECISION) END "
        f"AS weight, ROW_NUMBER() OVER (PARTITION BY t.id, m.key, {source.round}, m.reporter "
        f"ORDER BY m.id DESC) AS recency FROM {source.tables} WHERE {condition}) "
        "SELECT training, key, round, COALESCE("
        "SUM(weight * value) / SUM(CASE WHEN value IS NOT NULL THEN weight END), "
        # Nobody but the actor has measured it.
        "AVG(value)) AS value FROM report WHERE recency = 1 GROUP BY training, key, round "
        "ORDER BY training, key, round",
        caller.id,
        *arguments,
    )
    found: defaultdict[UUID, dict[str, list[Point]]] = defaultdict(dict)
    for row in rows:
        points = found[UUID(str(row["training"]))].setdefault(row["key"], [])
        points.append((row["round"], row["value"]))
    return found


async def main_means(
    names: Mapping[UUID, Sequence[str]], caller: Caller, *, rounds: int
) -> dict[UUID, tuple[str, list[Point]]]:
    """Key and global series of each training's main metric, over its last rounds.

    Of the tests if there are any, else of what came with updates; a training that nobody measured
    is left out. Where tests have the first of the names, as they mostly have, nothing else is read.

    Args:
        names: The metric names of each training.
    """
    found = await _means_of(
        {id: its[0] for id, its in names.items() if its}, caller, SeriesKind.TEST, rounds
    )
    rest = {id: its for id, its in names.items() if id not in found}
    keys = {kind: await _keys(rest, caller, kind, rounds) for kind in SeriesKind}
    main = {
        id: main_key(its, set[str]().union(*(of_each[id] for of_each in keys.values())))
        for id, its in rest.items()
    }
    for kind, of_each in keys.items():
        wanted = {id: k for id, k in main.items() if k in of_each[id] and id not in found}
        found |= await _means_of(wanted, caller, kind, rounds)
    return found


async def _means_of(
    keys: Mapping[UUID, str], caller: Caller, kind: SeriesKind, rounds: int
) -> dict[UUID, tuple[str, list[Point]]]:
    """Of every training that has values of its key."""
    if not keys:
        return {}
    found = await means(keys, caller, kind, rounds=rounds, only=keys)
    return {id: (keys[id], series[keys[id]]) for id, series in found.items()}


async def _keys(
    trainings: Collection[UUID], caller: Caller, kind: SeriesKind, rounds: int
) -> defaultdict[UUID, set[str]]:
    """The keys that `means` has for each training."""
    found: defaultdict[UUID, set[str]] = defaultdict(set)
    if not trainings:
        return found
    condition, arguments = _readable(trainings, caller, kind, rounds)
    for row in await Metric.raw(
        f"SELECT DISTINCT t.id AS training, m.key FROM {_SOURCES[kind].tables} WHERE {condition}",  # noqa: S608 - of constants; values are parameters
        *arguments,
    ):
        found[UUID(str(row["training"]))].add(row["key"])
    return found


async def _reported(
    training: UUID, caller: Caller, kind: SeriesKind, only: UUID | None
) -> tuple[list[Series], bool]:
    """The series of each reporter, or of one, and whether they are all there is."""
    source = _SOURCES[kind]
    condition, arguments = _readable([training], caller, kind, MAX_ROUNDS)
    if only is not None:
        condition += " AND m.reporter = {}"
        arguments.append(only)
    rows = await Metric.raw(
        f"SELECT m.key, {source.round} AS round, CAST(m.reporter AS TEXT) AS reporter, "  # noqa: S608 - of constants; values are parameters
        f"m.value_float AS value FROM {source.tables} WHERE {condition} "
        "ORDER BY round DESC, m.id DESC LIMIT {}",
        *arguments,
        MAX_VALUES + 1,
    )
    complete = len(rows) <= MAX_VALUES
    if not complete:
        cut = rows[-1]["round"]
        rows = [row for row in rows if row["round"] > cut]
    values: defaultdict[tuple[str, str], dict[int, float | None]] = defaultdict(dict)
    for row in reversed(rows):
        values[row["key"], row["reporter"]][row["round"]] = row["value"]
    series = [
        Series(key=key, kind=kind, reporter=UUID(reporter), points=list(its.items()))
        for (key, reporter), its in values.items()
    ]
    return series, complete


async def metrics_of(training: Training, caller: Caller) -> TrainingMetrics:
    """Every series that the caller may see, by key.

    The actor sees those of each reporter and the global ones; a participant their own and the
    global one of tests.
    """
    runs_it = training.actor == caller.id
    series: list[Series] = []
    complete = True
    for kind in SeriesKind:
        if runs_it or kind is SeriesKind.TEST:
            of_all = await means([training.id], caller, kind)
            series += [
                Series(key=key, kind=kind, reporter=None, points=points)
                for key, points in of_all.get(training.id, {}).items()
            ]
        only = None if runs_it else caller.id
        of_each, whole = await _reported(training.id, caller, kind, only)
        series += of_each
        complete &= whole
    series.sort(key=lambda one: (one.key, one.kind is SeriesKind.UPDATE, str(one.reporter or "")))
    names = msgspec.json.decode(training.metric_names, type=list[str])
    return TrainingMetrics(
        main=main_key(names, {one.key for one in series}), series=series, complete=complete
    )


def main_key(names: Sequence[str], keys: Collection[str]) -> str | None:
    """The first of the names that is among the keys, else the first key; None: there are none."""
    return next((name for name in names if name in keys), min(keys, default=None))


def _readable(
    trainings: Collection[UUID], caller: Caller, kind: SeriesKind, rounds: int
) -> tuple[str, list[object]]:
    """A condition on numbers that the caller may see, and its parameters."""
    places = ", ".join("{}" for _ in trainings)
    condition = (
        f"t.id IN ({places}) AND m.value_binary IS NULL "
        f"AND {_SOURCES[kind].round} > t.round + 1 - {{}}"
    )
    arguments: list[object] = [*trainings, rounds]
    if kind is SeriesKind.UPDATE:
        condition += " AND (t.actor = {} OR l.owner = {})"
        arguments += [caller.id, caller.id]
    return condition, arguments


def _having(keys: Mapping[UUID, str]) -> tuple[str, list[object]]:
    """A condition on values of each training's key alone, and its parameters."""
    trainings: defaultdict[str, list[UUID]] = defaultdict(list)
    for training, key in keys.items():
        trainings[key].append(training)
    conditions = [
        f"m.key = {{}} AND t.id IN ({', '.join('{}' for _ in those)})"
        for those in trainings.values()
    ]
    arguments = [value for key, those in trainings.items() for value in (key, *those)]
    return " OR ".join(conditions), arguments
