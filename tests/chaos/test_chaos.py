"""A bounded budget of chaos for every change; `just chaos` goes on for as long as one likes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.arena import Arena
from tests.chaos.crowd import gather
from tests.chaos.report import described, explained
from tests.chaos.scenarios import Database, Kill, campaign
from tests.chaos.trial import run
from tests.servers import PostgreSQL, short_temporary_folder

pytestmark = pytest.mark.e2e

# Found by trying: each does every kind of kill once in three runs, at six different moments.
SEEDS = {Database.SQLITE: 223, Database.POSTGRESQL: 249}
RUNS = 3
CROWD = 50


@pytest.fixture(scope="module", params=list(Database))
def database(request: pytest.FixtureRequest) -> Database:
    return Database(request.param)


@pytest.fixture(scope="module")
def arena(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder: Path = tmp_path_factory.mktemp("chaos")
    if database == Database.SQLITE:
        arena = Arena(folder, database)
        yield arena
        arena.close()
        return
    # One of its own: it is killed, which nobody else shall notice.
    with short_temporary_folder("pg") as data:
        postgresql = PostgreSQL(data)
        arena = Arena(folder, database, postgresql)
        yield arena
        arena.close()
        postgresql.stop()


@pytest.mark.parametrize("number", range(RUNS))
def test_whatever_is_killed_a_training_ends_as_if_nothing_had_been(
    arena: Arena, database: Database, number: int
) -> None:
    scenario = campaign(SEEDS[database], RUNS, [database])[number]
    result = run(arena, scenario)
    assert not result.wrong, explained(result)
    assert len(result.hits) == len(scenario.strikes)


def test_the_budget_has_every_kind_of_kill(database: Database) -> None:
    dealt = campaign(SEEDS[database], RUNS, [database])
    assert {strike.kill for scenario in dealt for strike in scenario.strikes} == set(Kill)


def test_a_crowd_in_pull_mode_takes_a_training_to_its_end(arena: Arena) -> None:
    findings = gather(arena.server, CROWD, rounds=1, idle_seconds=1.0)
    assert not findings.wrong, described(findings)
    assert len(findings.upload_seconds) == CROWD
