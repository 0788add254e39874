"""`just chaos`: many seeded runs in a row, with a table of what was hit."""

import argparse
import contextlib
import shlex
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import leftovers
from tests.chaos.arena import Arena
from tests.chaos.crowd import gather
from tests.chaos.report import described, explained, line
from tests.chaos.scenarios import Database, Kill, Scenario, campaign
from tests.chaos.trial import Result, run
from tests.servers import PostgreSQL, short_temporary_folder

# A file is as wide as the table.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def main(arguments: Sequence[str]) -> int:
    """Exit code: 1 when an invariant was violated."""
    given = _parsed(arguments)
    databases = list(Database) if given.database == "both" else [Database(given.database)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    leftovers.mark()
    try:
        if given.participants is not None:
            return _crowd(given.participants, given.rounds, databases)
        runs = given.runs if given.only is None else given.only + 1
        first = given.first if given.only is None else given.only
        scenarios = campaign(given.seed, runs, databases)[first:]
        repeat = f"just chaos --seed {given.seed} --database {shlex.quote(given.database)} --only"
        return _campaign(scenarios, repeat)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        leftovers.end()


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just chaos",
        description="Kill parts of a server during real trainings, and see whether all holds.",
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--database",
        choices=[*(database.value for database in Database), "both"],
        default="both",
        help="both: runs take turns on two servers",
    )
    parser.add_argument("--only", type=int, metavar="RUN", help="repeat this run of a campaign")
    parser.add_argument(
        "--from",
        dest="first",
        type=int,
        default=0,
        metavar="RUN",
        help="go on with a campaign that was interrupted",
    )
    parser.add_argument(
        "--participants",
        type=int,
        metavar="N",
        help="instead: one undisturbed training in pull mode with so many participants",
    )
    parser.add_argument("--rounds", type=int, default=2, help="of that training")
    return parser.parse_args(arguments)


def _campaign(scenarios: Sequence[Scenario], repeat: str) -> int:
    results: list[Result] = []
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(short_temporary_folder("chaos")))
        arenas: dict[Database, Arena] = {}
        for scenario in scenarios:
            if scenario.database not in arenas:
                arenas[scenario.database] = _arena(stack, folder, scenario.database)
            result = run(arenas[scenario.database], scenario)
            results.append(result)
            console.print(line(result), style="red" if result.wrong else None, markup=False)
            if result.wrong:
                console.print(explained(result), markup=False)
                console.print(f"--- again\n{repeat} {scenario.number}\n", markup=False)
    _summarise(results, time.monotonic() - began)
    return 1 if any(result.wrong for result in results) else 0


def _crowd(participants: int, rounds: int, databases: Sequence[Database]) -> int:
    violated = False
    for database in databases:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(short_temporary_folder("crowd")))
            findings = gather(_arena(stack, folder, database).server, participants, rounds)
        console.print(f"{database}: {described(findings)}", markup=False)
        violated = violated or bool(findings.wrong)
    return 1 if violated else 0


def _arena(stack: contextlib.ExitStack, folder: Path, database: Database) -> Arena:
    postgresql = None
    if database == Database.POSTGRESQL:
        postgresql = PostgreSQL(stack.enter_context(short_temporary_folder("pg")))
        stack.callback(postgresql.stop)
    arena = Arena(folder, database, postgresql)
    stack.callback(arena.close)
    return arena


def _summarise(results: Sequence[Result], seconds: float) -> None:
    hits = Counter((hit.kill, hit.phase) for result in results for hit in result.hits)
    phases = sorted({phase for _, phase in hits})
    table = Table("kill", *phases, "all", title="Kills by the phase that they hit")
    for kill in Kill:
        counts = [hits[kill, phase] for phase in phases]
        table.add_row(kill.value, *(str(count) for count in counts), str(sum(counts)))
    totals = [sum(hits[kill, phase] for kill in Kill) for phase in phases]
    table.add_row("all", *(str(total) for total in totals), str(sum(totals)), style="bold")
    console.print(table)
    lasted = [result.seconds for result in results]
    violated = sum(bool(result.wrong) for result in results)
    console.print(
        f"{len(results)} runs, {sum(totals)} kills, {violated} runs with violations, in "
        f"{seconds:.0f} s; a training took {statistics.median(lasted):.1f} s (median), "
        f"{max(lasted):.1f} s at most"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
