"""Pictures of every page of the console, from the world that its tests look at.

python -m tests.console                   # into screenshots/
python -m tests.console --only training   # pages whose name holds that
python -m tests.console --serve           # no pictures: the world's server, until Ctrl-C
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from playwright.sync_api import sync_playwright

from tests.console.browsers import DESKTOP, PHONE, Browsing, launch
from tests.console.world import PASSWORD, World
from tests.federations import Person
from tests.servers import Server, short_temporary_folder


def pages(world: World) -> dict[str, tuple[str, Person | None]]:
    """Every page by its picture's name: its address, and who looks at it."""
    return {
        "sign-in": ("/sign-in", None),
        "register": ("/register", None),
        "overview": ("/", world.actor),
        "overview-newcomer": ("/", world.newcomer),
        "overview-participant": ("/", world.participants[4]),
        "new-training": ("/trainings/new", world.actor),
        "training-finished": (f"/trainings/{world.finished.id}", world.actor),
        "training-waiting": (f"/trainings/{world.waiting.id}", world.actor),
        "training-unstarted": (f"/trainings/{world.unstarted.id}", world.actor),
        "training-paused": (f"/trainings/{world.paused.id}", world.actor),
        "training-aborted": (f"/trainings/{world.aborted.id}", world.actor),
        "training-participant": (f"/trainings/{world.waiting.id}", world.participants[4]),
        "models": ("/models", world.actor),
        "models-newcomer": ("/models", world.newcomer),
        "model": (f"/models/{world.finished.model_id}", world.actor),
        "model-swag": (f"/models/{world.swag}", world.actor),
        "model-mean": (f"/models/{world.mean}", world.actor),
        "try-it": (f"/try?model={world.finished.model_id}", world.actor),
        "people": ("/people", world.actor),
        "people-superuser": ("/people", world.superuser),
        "profile": ("/profile", world.actor),
        "compute": ("/compute", world.actor),
        "compute-superuser": ("/compute", world.superuser),
        "not-found": ("/nowhere", world.actor),
    }


@contextmanager
def running_world(port: int | None) -> Iterator[World]:
    """A world on a server of its own, with embedded Ray, that is gone afterwards."""
    with short_temporary_folder("console") as folder:
        server = Server(folder / "data", environment={}, port=port)
        world = World(server)
        try:
            server.start_and_wait()
            world.make()
            yield world
        finally:
            world.close()
            server.kill_if_running()


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("screenshots"))
@click.option("--only", default="", help="Pages whose name holds this.")
@click.option("--serve", is_flag=True, help="Take no pictures; serve the world until Ctrl-C.")
@click.option("--port", type=int, help="Of the server; any free one by default.")
def main(out: Path, only: str, serve: bool, port: int | None) -> None:
    """Take a picture of every page, wide and narrow, light and dark."""
    click.echo("Making the world: people, models, trainings…")
    with running_world(port) as world:
        if serve:
            names = ", ".join(person.username for person in world.people)
            click.echo(f"{world.server.url} – password of {names}: {PASSWORD}")
            world.server.process.wait()
            return
        take_all(world, out, only)


def take_all(world: World, out: Path, only: str) -> None:
    """Pictures of the pages whose name holds `only`."""
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name, (path, person) in pages(world).items():
            if only not in name:
                continue
            for size in (DESKTOP, PHONE):
                for theme in ("light", "dark"):
                    browsing = Browsing(browser, world.server)
                    page = browsing(path, by=person, size=size, theme=theme)
                    page.wait_for_load_state("networkidle")
                    target = out / f"{name}-{size[0]}-{theme}.png"
                    page.screenshot(path=target, full_page=True)
                    for failure in browsing.watch(page).failures:
                        click.echo(f"{target.name}: {failure}", err=True)
                    browsing.close()
            click.echo(name)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
