"""The compute page: what there is, what is in use, and what superusers see besides."""

import re
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from tests.console.browsers import A_WHILE, Browsing
from tests.console.looking import look
from tests.console.world import World
from tests.federations import Person

# Two nodes, one of them gone; processes in every state; a dashboard with a token.
CLUSTER: dict[str, Any] = {
    "ready": True,
    "detail": "",
    "embedded": False,
    "totals": {
        "cpus": 32.0,
        "cpus_used": 3.5,
        "gpus": 2.0,
        "gpus_used": 0.5,
        "memory_bytes": 64 * 2**30,
        "memory_used_bytes": 60 * 2**30,
        "object_store_bytes": 8 * 2**30,
        "object_store_used_bytes": 2**30,
    },
    "nodes": [
        {
            "id": "a" * 56,
            "name": "north",
            "address": "192.0.2.1",
            "alive": True,
            "head": True,
            "cpus": 32.0,
            "cpus_used": 3.5,
            "gpus": 2.0,
            "gpus_used": 0.5,
            "memory_bytes": 64 * 2**30,
            "memory_used_bytes": 60 * 2**30,
            "object_store_bytes": 8 * 2**30,
            "object_store_used_bytes": 2**30,
            "accelerator": "H100",
        },
        {
            "id": "b" * 56,
            "name": "south",
            "address": "192.0.2.2",
            "alive": False,
            "head": False,
            "cpus": 0.0,
            "cpus_used": 0.0,
            "gpus": 0.0,
            "gpus_used": 0.0,
            "memory_bytes": 0,
            "memory_used_bytes": 0,
            "object_store_bytes": 0,
            "object_store_used_bytes": 0,
            "accelerator": None,
        },
    ],
    "actors": [],
    "dashboard": {
        "url": "http://192.0.2.1:8265/",
        "token_command": "ray get-auth-token",
        "how": "It asks for a token: run `ray get-auth-token` where the server runs.",
    },
}


def section(page: Page, name: str) -> Locator:
    return page.locator("section").filter(has=page.get_by_role("heading", level=2, name=name))


def state_of(person: Person) -> dict[str, Any]:
    answer = person.client.get("/api/compute/")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def answered(page: Page, state: dict[str, Any]) -> None:
    """From now on the page hears this about the cluster."""
    page.route("**/api/compute/", lambda route: route.fulfill(json=state))


def process(kind: str, **more: object) -> dict[str, object]:
    return {
        "id": f"{kind}-{len(str(more))}",
        "name": "",
        "kind": kind,
        "state": "ALIVE",
        "node": "a" * 56,
        "pid": 4242,
        "training": None,
        "training_name": None,
        "model": None,
        "restarts": 0,
        **more,
    }


def test_everybody_sees_how_the_cluster_is_and_who_may_see_more(
    browse: Browsing, world: World
) -> None:
    page = browse("/compute", by=world.participants[0])
    totals = state_of(world.participants[0])["totals"]
    cpus = section(page, "In use").get_by_role("meter", name="CPUs")
    expect(cpus).to_have_attribute("aria-valuemax", f"{totals['cpus']:g}")
    for name in ("Database", "Blob store", "Ray"):
        part = page.get_by_role("listitem").filter(has_text=name)
        expect(part).to_contain_text("Works")
    expect(page.get_by_text("The superusers of this server also see its machines")).to_be_visible()
    expect(page.get_by_role("table")).to_have_count(0)
    look(page)


def test_a_superuser_sees_nodes_and_processes_and_the_way_to_the_dashboard(
    browse: Browsing, world: World
) -> None:
    state = state_of(world.superuser)
    page = browse("/compute", by=world.superuser)
    rows = section(page, "Nodes").get_by_role("row")
    expect(rows).to_have_count(1 + len(state["nodes"]))
    for node in state["nodes"]:
        expect(rows.filter(has_text=node["name"]).first).to_contain_text(node["address"])
    working = section(page, "Aggregators and predictors")
    # The aggregator of the training that is under way, whatever else is up.
    expect(working.get_by_role("row").filter(has_text="Training of Digits").first).to_be_visible()
    expect(section(page, "Ray dashboard")).to_contain_text(
        state["dashboard"]["how"].replace("`", "")
    )
    look(page)


def test_a_training_is_linked_only_for_who_may_see_it(browse: Browsing, world: World) -> None:
    page = browse.blank(by=world.superuser)
    foreign = world.waiting.id
    model = world.waiting.model_id
    actors = [
        process("aggregator", training=foreign, training_name="Digits"),
        process("aggregator", state="PENDING_CREATION", node=None, pid=None),
        process("predictor", model=model, state="RESTARTING", restarts=2),
    ]
    answered(page, CLUSTER | {"actors": actors})
    page.goto("/#/compute")
    rows = section(page, "Aggregators and predictors").get_by_role("row")
    training = rows.filter(has_text="Training of Digits")
    expect(training).to_contain_text("north")
    expect(training.get_by_role("link")).to_have_count(0)
    starting = page.get_by_text("Starting", exact=True)
    expect(rows.filter(has=starting)).to_contain_text("Spare: kept warm")
    expect(rows.filter(has_text="Restarting").get_by_role("link")).to_have_attribute(
        "href", f"#/models/{model}"
    )
    look(page)

    # The same for a superuser who runs that training.
    page = browse.blank(by=world.superuser)
    answered(page, CLUSTER | {"actors": actors})
    trainings = world.actor.client.get("/api/users/trainings/").json()
    page.route("**/api/users/trainings/", lambda route: route.fulfill(json=trainings))
    page.goto("/#/compute")
    expect(page.get_by_role("link", name="Training of Digits")).to_have_attribute(
        "href", f"#/trainings/{foreign}"
    )


def test_what_is_nearly_full_or_gone_is_marked(browse: Browsing, world: World) -> None:
    page = browse.blank(by=world.superuser)
    answered(page, CLUSTER)
    page.goto("/#/compute")
    use = section(page, "In use")
    expect(use).to_contain_text("A Ray cluster of 1 node")
    expect(use).to_contain_text("3.5 of 32 reserved")
    expect(use.get_by_role("img", name="Nearly full")).to_have_count(1)
    expect(use.get_by_role("meter", name="Memory", exact=True)).to_have_attribute(
        "aria-valuetext", "60.0 GiB of 64.0 GiB"
    )
    gone = section(page, "Nodes").get_by_role("row").filter(has_text="south")
    expect(gone).to_contain_text("Gone")
    expect(section(page, "Nodes").get_by_role("row").filter(has_text="north")).to_contain_text(
        "0.5 of 2 H100"
    )
    expect(page.get_by_text("Nothing stays up at the moment")).to_be_visible()
    dashboard = section(page, "Ray dashboard")
    link = dashboard.get_by_role("link", name="Open the Ray dashboard in a new tab")
    expect(link).to_have_attribute("href", "http://192.0.2.1:8265/")
    expect(dashboard.get_by_role("region", name="Command that prints the token")).to_have_text(
        "ray get-auth-token"
    )
    look(page)


def test_figures_renew_themselves_without_building_the_page_anew(
    browse: Browsing, world: World
) -> None:
    page = browse.blank(by=world.superuser)
    page.clock.install()
    used = 1

    def answer(route: Route) -> None:
        route.fulfill(json=CLUSTER | {"totals": CLUSTER["totals"] | {"cpus_used": float(used)}})

    page.route("**/api/compute/", answer)
    page.goto("/#/compute")
    expect(page.get_by_text("1 of 32 reserved")).to_be_visible()
    meter = page.get_by_role("meter", name="CPUs").element_handle()
    table = page.get_by_role("table").first.element_handle()
    page.evaluate(
        """() => {
          window.skeletons = 0;
          new MutationObserver(() => {
            window.skeletons += document.querySelectorAll(".skeleton").length;
          }).observe(document.body, { childList: true, subtree: true });
        }"""
    )
    for used in (2, 3):
        page.clock.fast_forward(A_WHILE)
        expect(page.get_by_text(f"{used} of 32 reserved")).to_be_visible()
    assert meter is not None
    assert table is not None
    assert meter.evaluate("one => one.isConnected")
    assert meter.get_attribute("aria-valuenow") == "3"
    assert table.evaluate("one => one.isConnected")
    assert page.evaluate("window.skeletons") == 0


def test_a_part_that_does_not_work_is_named_with_what_is_wrong(
    browse: Browsing, world: World
) -> None:
    page = browse.blank(by=world.actor)
    browse.watch(page).expect("503 GET .*/health/ready/")
    page.route(
        "**/health/ready/",
        lambda route: route.fulfill(
            status=503,
            json={
                "status": "unavailable",
                "database": "ok",
                "blob_store": "The blob store cannot be written.",
                "compute": "ok",
            },
        ),
    )
    page.goto("/#/compute")
    part = page.get_by_role("listitem").filter(has_text="Blob store")
    expect(part).to_contain_text("Does not work")
    expect(part).to_contain_text("The blob store cannot be written.")
    expect(page.get_by_role("listitem").filter(has_text="Database")).to_contain_text("Works")
    look(page)


def test_a_cluster_that_is_away_is_explained(browse: Browsing, world: World) -> None:
    page = browse.blank(by=world.superuser)
    away = CLUSTER | {"ready": False, "detail": "Ray does not answer.", "nodes": [], "actors": []}
    answered(page, away)
    page.goto("/#/compute")
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("The cluster is not ready. Ray does not answer.")
    expect(notice).to_contain_text("Nothing is lost")
    expect(page.get_by_role("meter")).to_have_count(0)
    look(page)


def test_what_fails_in_between_leaves_the_figures_and_says_so(
    browse: Browsing, world: World
) -> None:
    page = browse.with_clock("/compute", by=world.actor)
    expect(page.get_by_role("meter", name="CPUs")).to_be_visible()
    with browse.watch(page).outage():
        page.route("**/api/compute/", lambda route: route.abort())
        page.clock.fast_forward(A_WHILE)
        expect(
            page.get_by_text(re.compile("Not up to date: The server does not answer"))
        ).to_be_visible()
        expect(page.get_by_role("meter", name="CPUs")).to_be_visible()
        page.unroute("**/api/compute/")
        page.clock.fast_forward(A_WHILE)
        expect(page.get_by_text("Not up to date")).to_have_count(0)
