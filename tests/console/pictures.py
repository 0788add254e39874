"""Every page of the console as pictures show it: where it is, who looks, what they did first."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from playwright.sync_api import Page, expect

from tests.console.world import World
from tests.federations import Person

Deed = Callable[[Page], None]

# A handwritten two, in shares of the drawing surface.
TWO = ((0.3, 0.32), (0.38, 0.2), (0.55, 0.17), (0.68, 0.28), (0.62, 0.45), (0.45, 0.62), (0.3, 0.8))
TWO_S_FOOT = ((0.3, 0.8), (0.5, 0.78), (0.72, 0.8))


@dataclass(frozen=True)
class View:
    """A page to take a picture of.

    Attributes:
        path: What stands after `#` in its address.
        by: Who is signed in.
        first: What is done on the page before the picture is taken.
    """

    path: str
    by: Person | None
    first: Deed | None = None


def views(world: World) -> dict[str, View]:
    """Every page by its picture's name, some of them in several states."""
    actor, superuser = world.actor, world.superuser
    tried = f"/try?model={world.finished.model_id}"
    return {
        "sign-in": View("/sign-in", None),
        "set-up": View("/setup", None),
        "register": View("/register", None),
        "overview": View("/", actor),
        "overview-newcomer": View("/", world.newcomer),
        "overview-participant": View("/", world.participants[4]),
        "new-training": View("/trainings/new", actor),
        "new-training-methods": View("/trainings/new", actor, choose_methods),
        "training-finished": View(f"/trainings/{world.finished.id}", actor),
        "training-timeline": View(f"/trainings/{world.finished.id}?tab=timeline", actor),
        "training-waiting": View(f"/trainings/{world.waiting.id}", actor),
        "training-unstarted": View(f"/trainings/{world.unstarted.id}", actor),
        "training-paused": View(f"/trainings/{world.paused.id}", actor),
        "training-aborted": View(f"/trainings/{world.aborted.id}", actor),
        "training-participant": View(f"/trainings/{world.waiting.id}", world.participants[4]),
        "models": View("/models", actor),
        "models-newcomer": View("/models", world.newcomer),
        "new-model": View("/models/new", actor),
        "model": View(f"/models/{world.finished.model_id}", actor),
        "model-swag": View(f"/models/{world.swag}", actor),
        "model-mean": View(f"/models/{world.mean}", actor),
        "try-it": View(tried, actor),
        "try-it-asked": View(tried, actor, draw_and_ask),
        "people": View("/people", actor),
        "people-groups": View("/people?tab=groups", actor),
        "people-superuser": View("/people", superuser),
        "people-account": View("/people", superuser, partial(open_account, username="lakeview")),
        "people-invitations": View("/people?tab=invitations", superuser),
        "profile": View("/profile", actor),
        "compute": View("/compute", actor),
        "compute-superuser": View("/compute", superuser),
        "not-found": View("/nowhere", actor),
    }


def draw_and_ask(page: Page) -> None:
    """Draw a two and ask the model what it is."""
    surface = page.get_by_role("img", name="Drawing surface")
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    assert box is not None
    for stroke in (TWO, TWO_S_FOOT):
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=6)
        page.mouse.up()
    question = page.get_by_role("region", name="Input")
    question.get_by_role("button", name="Ask the model").click()
    expect(page.get_by_role("region", name="Answer")).to_have_attribute("data-state", "fresh")


def choose_methods(page: Page) -> None:
    """Go to the second step of a new training and choose methods with options."""
    page.get_by_role("radio", name="Digits", exact=True).first.check()
    page.get_by_role("button", name=re.compile("^Next")).click()
    page.get_by_role("radio", name="FedProx").check()
    page.get_by_role("radio", name="MC dropout").check()


def open_account(page: Page, username: str) -> None:
    """Open the account of one user."""
    page.get_by_role("button", name=f"Manage {username}").click()
    expect(page.get_by_role("dialog")).to_be_visible()
