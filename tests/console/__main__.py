"""Pictures of every page of the console, from the world that its tests look at.

python -m tests.console                   # into screenshots/
python -m tests.console --only training   # pages whose name holds that
python -m tests.console --readme          # the few that the README shows, into docs/images/
python -m tests.console --serve           # no pictures: the world's server, until Ctrl-C
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.console.browsers import DESKTOP, PHONE, Browsing, launch
from tests.console.pictures import View, views
from tests.console.world import PASSWORD, World
from tests.servers import REPOSITORY, Server, short_temporary_folder

IMAGES = REPOSITORY / "docs" / "images"
# What the README shows: which view, and in which theme.
OF_README = {
    "overview": "light",
    "training-finished": "dark",
    "new-training-methods": "dark",
    "try-it-asked": "light",
}
README_HEIGHT = 1000
# An interface has few colours; a picture of 256 is a third of the bytes.
COLOURS = 256


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
@click.option("--readme", is_flag=True, help="Only those that the README shows.")
@click.option("--serve", is_flag=True, help="Take no pictures; serve the world until Ctrl-C.")
@click.option("--port", type=int, help="Of the server; any free one by default.")
def main(out: Path, only: str, readme: bool, serve: bool, port: int | None) -> None:
    """Take a picture of every page, wide and narrow, light and dark."""
    click.echo("Making the world: people, models, trainings…")
    with running_world(port) as world:
        if serve:
            names = ", ".join(person.username for person in world.people)
            click.echo(f"{world.server.url} – password of {names}: {PASSWORD}")
            world.server.process.wait()
        elif readme:
            take_for_readme(world)
        else:
            take_all(world, out, only)


def take_all(world: World, out: Path, only: str) -> None:
    """Pictures of the pages whose name holds `only`."""
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        browsing = Browsing(browser, world.server)
        for name, view in views(world).items():
            if only not in name:
                continue
            for size in (DESKTOP, PHONE):
                for theme in ("light", "dark"):
                    target = out / f"{name}-{size[0]}-{theme}.png"
                    page = show(browsing, view, size=size, theme=theme)
                    page.screenshot(path=target)
                    for failure in browsing.watch(page).failures:
                        click.echo(f"{target.name}: {failure}", err=True)
                    browsing.close()
            click.echo(name)
        browser.close()


def take_for_readme(world: World) -> None:
    """The README's pictures: the upper part of each page, in few bytes."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        browsing = Browsing(browser, world.server)
        for name, theme in OF_README.items():
            page = show(browsing, views(world)[name], size=DESKTOP, theme=theme)
            height = min(README_HEIGHT, page.viewport_size["height"])
            clip = {"x": 0, "y": 0, "width": DESKTOP[0], "height": height}
            picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
            target = IMAGES / f"console-{name}.png"
            picture.quantize(COLOURS).save(target, optimize=True)
            click.echo(f"{target.name}  {target.stat().st_size:,} bytes")
        browser.close()


def show(browsing: Browsing, view: View, *, size: tuple[int, int], theme: str) -> Page:
    """The page as its picture shows it, in a window that is high enough for all of it."""
    page = browsing(view.path, by=view.by, size=size, theme=theme)
    page.wait_for_load_state("networkidle")
    if view.first is not None:
        view.first(page)
        page.wait_for_load_state("networkidle")
    # A navigation as high as the window would end in the middle of a longer page.
    height = max(size[1], page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": size[0], "height": height})
    return page


if __name__ == "__main__":
    sys.exit(main())
