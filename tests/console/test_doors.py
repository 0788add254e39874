"""Coming in and going out: first run, invitation, sign-in, sign-out, and sessions that end."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.console.browsers import A_WHILE, PHONE, Browsing, sign_in
from tests.console.looking import look
from tests.console.world import PASSWORD, World
from tests.federations import Person
from tests.servers import RayCluster, Server

STORED = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"


@pytest.fixture(scope="module")
def fresh_server(
    ray_cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server on which nobody is registered, and nobody can without an invitation."""
    server = Server(
        tmp_path_factory.mktemp("fresh") / "server",
        environment={**ray_cluster.environment(), "STARLING_REGISTRATION": "invitation"},
    )
    try:
        yield server.start_and_wait()
    finally:
        server.kill_if_running()


@pytest.fixture
def browse_fresh(chromium: Browser, fresh_server: Server) -> Iterator[Browsing]:
    browsing = Browsing(chromium, fresh_server)
    try:
        yield browsing
        browsing.end()
    finally:
        browsing.close()


def heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def test_first_run_makes_a_superuser_who_invites_a_colleague(
    browse_fresh: Browsing, fresh_server: Server
) -> None:
    nobody = browse_fresh("/people")
    heading(nobody, "Welcome to Starling")
    look(nobody)

    code = re.search(r"#/setup\?code=(\S+)", fresh_server.log_text())
    assert code is not None, fresh_server.log_text()
    page = browse_fresh("/setup?code=of-an-earlier-start")
    browse_fresh.watch(page).expect("403 POST .*/api/setup/")
    page.get_by_label("User name").fill("grace")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create and sign in").click()
    expect(page.get_by_text("The setup code is not what the server printed")).to_be_visible()
    # The right link in the same tab: the browser only changes the fragment.
    page.evaluate("fragment => { location.hash = fragment; }", f"#/setup?code={code[1]}")
    expect(page.get_by_label("Setup code")).to_have_value(code[1])
    heading(page, "Welcome to Starling")
    page.get_by_label("User name").fill("grace")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create and sign in").click()
    heading(page, "Overview")

    page.get_by_role("link", name="People").click()
    page.get_by_role("tab", name="Invitations").click()
    page.get_by_label("Valid for days").fill("3")
    page.get_by_role("button", name="Create invitation").click()
    link = page.locator(".secret code").inner_text()
    look(page)

    colleague = browse_fresh(link.split("#")[1])
    heading(colleague, "Create an account")
    look(colleague)
    colleague.get_by_label("User name").fill("ada")
    colleague.get_by_label("Password", exact=True).fill(PASSWORD)
    colleague.get_by_role("button", name="Create account").click()
    heading(colleague, "Overview")

    late = browse_fresh(link.split("#")[1])
    browse_fresh.watch(late).expect("4.. POST .*/api/users/")
    late.get_by_label("User name").fill("eve")
    late.get_by_label("Password", exact=True).fill(PASSWORD)
    late.get_by_role("button", name="Create account").click()
    expect(late.get_by_role("alert").or_(late.locator(".fault")).first).to_be_visible()
    heading(late, "Create an account")

    nobody.reload()
    heading(nobody, "This server is set up")


def test_a_server_that_is_set_up_takes_no_setup_code(browse: Browsing) -> None:
    page = browse("/setup?code=guessed")
    heading(page, "This server is set up")
    look(page)


def test_signing_in_leads_to_where_one_wanted_to_go_and_leaves_nothing_in_storage(
    browse: Browsing, world: World
) -> None:
    page = browse("/people?tab=groups")
    heading(page, "Sign in to Starling")
    look(page)
    sign_in(page, world.actor)
    heading(page, "People")
    expect(page.get_by_role("tab", name="My groups")).to_have_attribute("aria-selected", "true")
    assert page.evaluate(STORED) == '[{},{},""]'


def test_a_wrong_password_is_said_and_nothing_is_kept(browse: Browsing, world: World) -> None:
    page = browse("/sign-in")
    browse.watch(page).expect("401 POST .*/api/session/")
    sign_in(page, world.actor, password="guessed")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_value(world.actor.username)
    look(page)
    assert page.evaluate(STORED) == '[{},{},""]'
    assert page.context.cookies() == []


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(
    browse: Browsing, world: World
) -> None:
    page = browse("/sign-in")
    sign_in(page, world.actor)
    heading(page, "Overview")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == ""


def test_signing_out_ends_the_session_at_the_server(browse: Browsing, world: World) -> None:
    page = browse("/profile", by=world.actor)
    heading(page, "Profile")
    stolen = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    page.get_by_role("button", name="Sign out").click()
    heading(page, "Sign in to Starling")
    assert page.context.cookies() == []
    with world.server.client(cookies=stolen) as thief:
        assert thief.get("/api/users/myself/").status_code == 401
    page.go_back()
    heading(page, "Sign in to Starling")


def change_password(person: Person, new: str) -> None:
    answer = person.client.post(
        "/api/users/myself/password/",
        json={"current_password": person.password, "new_password": new},
    )
    assert answer.status_code == 204, answer.text


def test_a_session_that_ends_leads_to_the_door_and_back_to_where_one_was(
    browse: Browsing, world: World
) -> None:
    person = world.new_person("tara", actor=True)
    page = browse("/people", by=person)
    browse.watch(page).expect("401 GET .*/api/users/")
    expect(page.get_by_role("cell", name="Takes part").first).to_be_visible()
    change_password(person, "another one altogether")
    page.get_by_role("tab", name="My groups").click()
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    look(page)
    sign_in(page, person, password="another one altogether")
    heading(page, "People")
    expect(page.get_by_role("tab", name="My groups")).to_have_attribute("aria-selected", "true")


def test_a_page_that_refreshes_itself_notices_the_end_of_the_session(
    browse: Browsing, world: World
) -> None:
    person = world.new_person("uma", actor=True)
    page = browse.with_clock("/", by=person)
    browse.watch(page).expect("401 GET .*/api/(overview|compute)/")
    heading(page, "Overview")
    change_password(person, "another one altogether")
    page.clock.fast_forward(A_WHILE)
    expect(page.get_by_text("Your session has ended")).to_be_visible()


def test_a_colleague_without_rights_is_refused_what_is_the_superusers(
    browse: Browsing, world: World
) -> None:
    page = browse("/people?tab=accounts", by=world.actor)
    heading(page, "People")
    expect(page.get_by_role("tab")).to_have_text(["Everybody", "My groups"])
    browse.watch(page).expect("403 GET .*/api/accounts/")
    assert page.evaluate("fetch('/api/accounts/').then((answer) => answer.status)") == 403


def test_sign_in_and_navigation_need_no_mouse(browse: Browsing, world: World) -> None:
    page = browse("/sign-in")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type(world.actor.username)
    page.keyboard.press("Tab")
    page.keyboard.type(world.actor.password)
    page.keyboard.press("Enter")
    heading(page, "Overview")
    expect(page.get_by_role("heading", level=1)).to_be_focused()

    page.reload()
    heading(page, "Overview")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("main").get_by_role("link", name="New training")).to_be_focused()

    page.get_by_role("navigation").get_by_role("link", name="People").focus()
    page.keyboard.press("Enter")
    heading(page, "People")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Everybody")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="My groups")).to_be_focused()
    expect(page.get_by_role("tab", name="My groups")).to_have_attribute("aria-selected", "true")


def test_a_chosen_theme_is_kept_and_the_systems_is_followed_otherwise(
    browse: Browsing, world: World
) -> None:
    page = browse("/profile", by=world.actor)
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate(background) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate(background) == light
    page.emulate_media(color_scheme="dark")
    # `wait_for_function` evaluates strings, which the page's policy forbids from the second on.
    expect(page.locator("body")).to_have_css("background-color", dark)


def test_the_menu_of_a_phone_opens_goes_somewhere_and_closes(
    browse: Browsing, world: World
) -> None:
    page = browse("/", by=world.actor, size=PHONE)
    heading(page, "Overview")
    people = page.get_by_role("navigation").get_by_role("link", name="People")
    expect(people).to_be_hidden()
    page.get_by_role("button", name="Open menu").click()
    expect(people).to_be_visible()
    look(page)
    page.keyboard.press("Escape")
    expect(people).to_be_hidden()
    page.get_by_role("button", name="Open menu").click()
    people.click()
    heading(page, "People")
    expect(people).to_be_hidden()


@pytest.mark.parametrize("signed_in", [False, True], ids=["door", "overview"])
def test_the_first_page_is_small(browse: Browsing, world: World, *, signed_in: bool) -> None:
    page = browse.blank(by=world.actor if signed_in else None)
    requests: list[Request] = []

    def note(request: Request) -> None:
        requests.append(request)

    page.on("requestfinished", note)
    page.goto("/")
    heading(page, "Overview" if signed_in else "Sign in to Starling")
    page.wait_for_load_state("networkidle")
    sizes = [request.sizes() for request in requests]
    transferred = sum(size["responseHeadersSize"] + size["responseBodySize"] for size in sizes)
    assert transferred < 200_000, f"{transferred:,} bytes"
    assert len(requests) < 70, [request.url for request in requests]
