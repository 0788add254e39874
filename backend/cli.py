"""The `starling` command."""

import gc
import os
import signal
import sys
from pathlib import Path

import click

from backend import DISTRIBUTION
from backend.errors import StartupError
from backend.settings import load_settings


class _Commands(click.Group):
    """Imports the code of a command when it is named: most take longer to import than to run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return sorted([*super().list_commands(ctx), "simulate", "user", "verify"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        match cmd_name:
            case "simulate":
                from backend.simulation.commands import simulate_command

                return simulate_command
            case "user":
                from backend.users.commands import user

                return user
            case "verify":
                from backend.audit.commands import verify

                return verify
            case _:
                return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION)
def cli() -> None:
    """Starling: train one model together, keep the data at home."""


@cli.command()
@click.option("--host", help="Address to listen on (STARLING_HOST, 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (STARLING_PORT, 8000).")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of database, blobs and secret (STARLING_DATA_DIR, ~/.starling).",
)
@click.option(
    "--debug",
    is_flag=True,
    default=None,
    help="Log more, serve demo data to anybody (STARLING_DEBUG).",
)
def serve(**flags: object) -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    given = {name: value for name, value in flags.items() if value is not None}
    settings = load_settings(given)
    # What is loaded now stays: looking through it for garbage would cost a tenth of the start.
    gc.disable()
    try:
        from backend.server import run_server
    finally:
        gc.enable()
    run_server(settings)


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Train a small model with participants on this machine (see `starling demo --help`)."""
    # The demo trains, so it loads torch, which this process must not; it becomes the demo instead.
    command = [sys.executable, "-m", "examples.digits", *arguments]
    os.execv(command[0], command)  # noqa: S606 - our own interpreter and module


def main() -> None:
    """Run the command; a startup error is one line on stderr and a non-zero exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"starling: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(128 + signal.SIGINT)
    except StartupError as error:
        click.echo(f"starling: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
