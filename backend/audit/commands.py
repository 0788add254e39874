"""`starling verify`: checks a training against its audit log, from the command line."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

import asyncpg
import click
import msgspec
from rich.console import Console
from rich.markup import escape

from backend.audit.findings import Check, Finding, Findings, Outcome, Verdict
from backend.audit.verification import verify as verify_training
from backend.db.engine import Database
from backend.errors import DatabaseUnavailable, NotFound, StartupError
from backend.settings import Settings, load_settings
from compute.blobs import BlobError, open_blob_store

_SQLITE = "sqlite:///"
_STYLES = {Outcome.VERIFIED: "green", Outcome.HANDED_ON: "green", Outcome.DIFFERENT: "bold red"}
_ROUNDS = (Check.ROUND, Check.MOMENTS)


class CannotVerify(StartupError):
    """There is nothing to verify; nothing is wrong with the training."""

    exit_code = 2


@click.command()
@click.argument("training_id", type=click.UUID)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of database and blobs (STARLING_DATA_DIR, ~/.starling).",
)
@click.option("--json", "as_json", is_flag=True, help="JSON Lines, for programs.")
def verify(training_id: UUID, data_dir: Path | None, as_json: bool) -> None:
    """Check a training: is its audit log whole, and does every round give the same bits again?

    Only reads; the server may be running. Exit code 0: everything that is kept is as the log says;
    1: something differs; 2: it could not be checked.
    """
    settings = load_settings({} if data_dir is None else {"data_dir": data_dir})
    if as_json:
        verdict = asyncio.run(_verified(settings, training_id, _print_json))
        _print_json(verdict)
    else:
        lines = _Lines(Console(highlight=False, soft_wrap=True))
        verdict = asyncio.run(_verified(settings, training_id, lines.show))
        lines.end(verdict)
    if verdict.verdict == Outcome.DIFFERENT:
        sys.exit(1)


async def _verified(
    settings: Settings, training_id: UUID, show: Callable[[Finding], None]
) -> Verdict:
    url = settings.storage.database
    if url.startswith(_SQLITE) and not Path(unquote(url.removeprefix(_SQLITE))).is_file():
        raise CannotVerify(f"There is no database in {settings.storage.data_dir}.")
    try:
        database, blobs = Database(url), open_blob_store(settings.storage.blobs)
    except (ValueError, BlobError) as error:
        raise CannotVerify(f"A setting cannot be used: {error}.") from error
    try:
        await database.open()
        return await verify_training(
            training_id,
            Findings(show),
            database=database,
            blobs=blobs,
            blob_url=settings.storage.blobs,
        )
    except NotFound as error:
        raise CannotVerify(error.detail) from error
    except BlobError as error:
        raise CannotVerify(f"The blob store cannot be read: {error}.") from error
    except (DatabaseUnavailable, OSError, asyncpg.PostgresError, sqlite3.Error) as error:
        raise CannotVerify(f"The database cannot be read: {error}.") from error
    finally:
        await database.close()


def _print_json(line: Finding | Verdict) -> None:
    click.echo(msgspec.json.encode(line))


class _Lines:
    """Findings as lines for people; rounds in a row that came to the same are one line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._run: list[Finding] = []

    def show(self, finding: Finding) -> None:
        """Print a finding, or keep it until the next differs."""
        last = self._run[-1] if self._run else None
        if (
            last is not None
            and finding.outcome == last.outcome != Outcome.DIFFERENT
            and finding.check == last.check in _ROUNDS
        ):
            self._run = [self._run[0], finding]
            return
        self._flush()
        self._run = [finding]

    def end(self, verdict: Verdict) -> None:
        """Print what is left, and the verdict."""
        self._flush()
        rounds = ", ".join(
            f"{count} {outcome.replace('_', ' ')}" for outcome, count in verdict.rounds.items()
        )
        self._console.print(f"Rounds: {rounds or 'none'}.")
        self._console.print(
            f"The log ends with event digest {verdict.last_digest}. Who has noted it can tell "
            "whether the log is rewritten one day."
        )
        wrong = sum(verdict.differences.values())
        if wrong:
            self._console.print(
                f"[bold red]{wrong} differences.[/] The first is the one to look at."
            )
        else:
            self._console.print("[bold green]Verified:[/] all that is kept is as the log says.")

    def _flush(self) -> None:
        if not self._run:
            return
        first, last = self._run[0], self._run[-1]
        where = first.check.value
        if first.round is not None:
            several = last.round != first.round
            rounds = f"{first.round}-{last.round}" if several else str(first.round)
            where = f"{where} {rounds}" if first.check in _ROUNDS else f"{where}, round {rounds}"
        detail = "" if first is not last else f"  {escape(first.detail)}"
        style = _STYLES.get(first.outcome, "yellow")
        outcome = first.outcome.value.replace("_", " ")
        self._console.print(f"{where:<18} [{style}]{outcome:<12}[/]{detail}")
        self._run = []
