"""`starling user`: accounts from the command line, on the database itself.

They need no running server and mind none: a server asks the database about each request, so that a
disabled user or a replaced token is refused from then on.
"""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import asyncpg
import click
import msgspec

from backend.accounts.schemas import AccountJson
from backend.accounts.service import AccountService
from backend.data_dir import DataDirInUse, open_data_dir, read_secret
from backend.db.engine import Database
from backend.db.migrate import migrate
from backend.db.tables import User
from backend.errors import DatabaseUnavailable, StarlingError, StartupError
from backend.security.invitations import new_invitation
from backend.security.webhook_targets import WebhookPolicy
from backend.settings import Settings, load_settings
from backend.text import RequiredText
from backend.users.schemas import CreateUser
from backend.users.service import UserService

MAX_INVITATION_HOURS = 24 * 365

ResultT = TypeVar("ResultT")


@click.group()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of database and secret (STARLING_DATA_DIR, ~/.starling).",
)
@click.pass_context
def user(context: click.Context, data_dir: Path | None) -> None:
    """Create and change accounts; the server may be running."""
    context.obj = load_settings({} if data_dir is None else {"data_dir": data_dir})


@user.command()
@click.argument("username")
@click.option("--superuser", is_flag=True, help="Sees everything, creates users.")
@click.option("--actor", is_flag=True, help="Marks who runs trainings; grants nothing.")
@click.option("--client", is_flag=True, help="Marks who takes part in trainings; grants nothing.")
@click.option("--email", default="", help="Shown to superusers and to actors of shared trainings.")
@click.option("--message-endpoint", default="", help="URL of the webhook.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def create(
    settings: Settings, /, username: str, superuser: bool, password_stdin: bool, **fields: object
) -> None:
    """Create a user and print their API token."""
    wanted = {"username": username, "password": _password(from_stdin=password_stdin), **fields}
    try:
        order = msgspec.convert(wanted, CreateUser)
    except msgspec.ValidationError as error:
        raise click.ClickException(str(error)) from error
    # Who has a shell here may let webhooks go to this machine.
    webhooks = WebhookPolicy(allow_loopback=True, public_only=settings.access.webhook_public_only)

    async def work() -> str:
        async with _open(settings) as (database, secret):
            service = UserService(
                database,
                secret,
                webhooks=webhooks,
                password_hashing=settings.access.password_hashing,
            )
            return (await service.create(order, superuser=superuser)).token

    click.echo(_run(work()))


@user.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def list_users(settings: Settings, as_json: bool) -> None:
    """List all users, oldest first."""

    async def work() -> list[AccountJson]:
        async with _accounts(settings) as accounts:
            return await accounts.list()

    listed = _run(work())
    if as_json:
        click.echo(msgspec.json.encode(listed))
        return
    for one in listed:
        roles = [name for name in ("superuser", "actor", "client") if getattr(one, name)]
        state = [] if one.active else ["disabled"]
        click.echo(f"{one.id}  {one.username}  {','.join([*roles, *state]) or '-'}")


@user.command()
@click.argument("username")
@click.option("--rotate", is_flag=True, help="Replace the token; the old one stops working.")
@click.pass_obj
def token(settings: Settings, username: str, rotate: bool) -> None:
    """Print a user's API token."""

    async def work() -> str:
        async with _accounts(settings) as accounts:
            found = await _find(username)
            return await (accounts.replace_token if rotate else accounts.token)(found.id)

    click.echo(_run(work()))


@user.command()
@click.argument("username")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def passwd(settings: Settings, username: str, password_stdin: bool) -> None:
    """Give a user a new password and sign them out of browsers; their token stays."""
    password = _password(from_stdin=password_stdin)

    async def work() -> None:
        async with _accounts(settings) as accounts:
            await accounts.set_password((await _find(username)).id, password)

    _run(work())


@user.command()
@click.argument("username")
@click.pass_obj
def disable(settings: Settings, username: str) -> None:
    """Refuse a user's password, token and sessions from now on; what they own stays."""
    _run(_set_active(settings, username, active=False))


@user.command()
@click.argument("username")
@click.pass_obj
def enable(settings: Settings, username: str) -> None:
    """Let a disabled user in again."""
    _run(_set_active(settings, username, active=True))


@user.command()
@click.option(
    "--expires-hours",
    type=click.IntRange(1, MAX_INVITATION_HOURS),
    default=72,
    show_default=True,
    help="How long it can be used.",
)
@click.pass_obj
def invite(settings: Settings, expires_hours: int) -> None:
    """Print an invitation: one person can register with it, once."""
    with _data_dir(settings) as (secret, _):
        now = datetime.now(UTC)
        click.echo(new_invitation(secret, timedelta(hours=expires_hours), now=now))


async def _set_active(settings: Settings, username: str, *, active: bool) -> None:
    async with _accounts(settings) as accounts:
        await accounts.set_active((await _find(username)).id, active=active)


async def _find(username: str) -> User:
    found = await User.objects().get(User.username == username)
    if found is None:
        raise click.ClickException(
            f"There is no user {username!r} on this server; "
            "`starling user --data-dir DIR …` asks another one's."
        )
    return found


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        given = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    else:
        given = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        return msgspec.convert(given, RequiredText)
    except msgspec.ValidationError as error:
        raise click.ClickException(f"This is no good password: {error}.") from error


@asynccontextmanager
async def _accounts(settings: Settings) -> AsyncIterator[AccountService]:
    """The accounts in the database."""
    async with _open(settings) as (database, secret):
        yield AccountService(
            database,
            secret,
            base_url=settings.http.base_url,
            password_hashing=settings.access.password_hashing,
        )


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[tuple[Database, str]]:
    """The database, brought up to date unless a server has done that, and the server's secret."""
    with _data_dir(settings) as (secret, is_served):
        database = Database(settings.storage.database)
        try:
            await database.open()
            if not is_served:
                await migrate()
            yield database, secret
        except (DatabaseUnavailable, asyncpg.PostgresError, sqlite3.Error) as error:
            raise StartupError(f"The database cannot be used: {error}.") from error
        finally:
            await database.close()


@contextlib.contextmanager
def _data_dir(settings: Settings) -> Iterator[tuple[str, bool]]:
    """The secret of the data directory, which is made if there is none, and whether a server runs.

    A server that would start meanwhile is told to wait.
    """
    path = settings.storage.data_dir
    try:
        data_dir = open_data_dir(path)
    except DataDirInUse:
        yield settings.secret or read_secret(path), True
        return
    try:
        yield settings.secret or data_dir.secret(), False
    finally:
        data_dir.close()


def _run(work: Coroutine[object, object, ResultT]) -> ResultT:
    """What `work` gives; a refusal becomes a line on stderr."""
    try:
        return asyncio.run(work)
    except StarlingError as error:
        raise click.ClickException(error.detail) from error
