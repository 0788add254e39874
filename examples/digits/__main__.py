"""Command line of the demo; `starling demo` hands its flags on to it."""

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console

from examples.digits.demo import Plan, run_demo


@click.command(name="starling demo")
@click.option("--participants", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option(
    "--alpha",
    type=click.FloatRange(0, min_open=True),
    default=0.5,
    show_default=True,
    help="How alike the shares are: 0.1 gives each few digits, 100 gives all the same.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the server.  [default: 8000 or a free one]",
)
@click.option("--exit", "exit_when_done", is_flag=True, help="End after the training.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Also save the trained model here.",
)
def main(
    participants: int,
    rounds: int,
    alpha: float,
    seed: int,
    port: int | None,
    exit_when_done: bool,
    output: Path | None,
) -> None:
    """Train a digit recogniser federatedly on this machine and look around in the server."""
    plan = Plan(
        participants=participants,
        rounds=rounds,
        alpha=alpha,
        seed=seed,
        port=port,
        exit_when_done=exit_when_done,
        output=output,
    )
    sys.exit(asyncio.run(run_demo(plan, Console())))


if __name__ == "__main__":
    main()
