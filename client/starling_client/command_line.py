"""The `starling-client` command: `join` runs a script, `doctor` looks for what is in its way."""

import contextlib
import os
import runpy
import sys
from pathlib import Path

import click

from starling_client import settings
from starling_client.accounts import register as new_account
from starling_client.connection import Connection
from starling_client.doctor import Verdict, examine
from starling_client.errors import (
    NotAuthenticated,
    ServerBusy,
    StarlingError,
    TrainingEnded,
    Unreachable,
)

DOCTOR_PATIENCE_SECONDS = 5.0

_url = click.option(
    "--url", envvar=settings.URL_VARIABLE, show_envvar=True, help="Address of the server."
)
_token = click.option(
    "--token",
    envvar=settings.TOKEN_VARIABLE,
    show_envvar=True,
    help="Token of the participant. Others on this machine see arguments: prefer the variable.",
)
_training = click.option(
    "--training",
    envvar=settings.TRAINING_VARIABLE,
    show_envvar=True,
    help="Id of the training; needed when you take part in several.",
)


@click.group()
@click.version_option(package_name="starling-client")
def main() -> None:
    """Take part in a federated training of a Starling server."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@_url
@_token
@_training
def join(
    script: Path,
    arguments: tuple[str, ...],
    url: str | None,
    token: str | None,
    training: str | None,
) -> None:
    """Run SCRIPT, whose loop is `for task in starling_client.join()`, with its ARGUMENTS.

    Options of this command come before SCRIPT, those of the script behind it.
    """
    given = {
        settings.URL_VARIABLE: url,
        settings.TOKEN_VARIABLE: token,
        settings.TRAINING_VARIABLE: training,
    }
    os.environ.update({name: value for name, value in given.items() if value})
    sys.argv = [str(script), *arguments]
    # As `python SCRIPT` has it: what lies beside the script can be imported.
    sys.path.insert(0, str(script.resolve().parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except StarlingError as error:
        sys.exit(_said(error))


@main.command()
@click.argument("username")
@_url
@click.option("--email", default="", help="For the actors of your trainings.")
@click.option("--invitation", default="", help="Where the server registers by invitation.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the token to this new file, which only you can read, instead of printing it.",
)
@click.password_option(
    envvar="STARLING_CLIENT_PASSWORD", show_envvar=True, help="Of the new user; asked for."
)
def register(
    username: str,
    url: str | None,
    email: str,
    invitation: str,
    token_file: Path | None,
    password: str,
) -> None:
    """Make a user called USERNAME, and print the token. A name is taken for good."""
    with contextlib.ExitStack() as undoing:
        if token_file is not None:
            # Before the user is made, whose token is told once.
            try:
                token_file.touch(mode=0o600, exist_ok=False)
            except OSError as error:
                sys.exit(f"{token_file}: {error.strerror}. A token file is a new one.")
            undoing.callback(token_file.unlink)
        try:
            account = new_account(
                url, username=username, password=password, email=email, invitation=invitation
            )
        except StarlingError as error:
            sys.exit(_said(error))
        if token_file is None:
            click.echo(account.token)
        else:
            undoing.pop_all()
            try:
                token_file.write_text(f"{account.token}\n")
            except OSError as error:
                # It is told once.
                sys.exit(f"{token_file}: {error.strerror}. The token is {account.token}")


@main.command()
@_url
@_token
@_training
def doctor(url: str | None, token: str | None, training: str | None) -> None:
    """Say what works and what does not: address, clock, versions, credentials, training."""
    try:
        line = settings.anonymous_line(url, DOCTOR_PATIENCE_SECONDS)
        if token:
            line = settings.line(url, token, DOCTOR_PATIENCE_SECONDS)
        with Connection(line) as connection:
            findings = connection.run(examine(line.url, training))
    except StarlingError as error:
        sys.exit(_said(error))
    for finding in findings:
        for text in finding.lines():
            click.echo(text)
    sys.exit(any(finding.verdict is Verdict.BAD for finding in findings))


def _said(error: StarlingError) -> str:
    known_to_doctor = isinstance(error, Unreachable | ServerBusy | NotAuthenticated | TrainingEnded)
    advice = " (starling-client doctor may know more.)" if known_to_doctor else ""
    return f"{type(error).__name__}: {error.detail}{advice}"


if __name__ == "__main__":
    main()
