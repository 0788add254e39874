"""People: what superusers manage, and what everybody sees."""

import re

from playwright.sync_api import Page, expect

from tests.console.browsers import Browsing, sign_in
from tests.console.looking import look
from tests.console.world import World
from tests.federations import Person


def accounts_of(page: Page, person: Person) -> None:
    """Open the account of `person`."""
    page.get_by_label("Search").fill(person.username)
    page.get_by_role("button", name=f"Manage {person.username}").click()


def answers(person: Person) -> int:
    return person.client.get("/api/users/myself/").status_code


def test_a_superuser_sees_all_accounts_and_finds_one(browse: Browsing, world: World) -> None:
    page = browse("/people", by=world.superuser)
    row = page.get_by_role("row").filter(has_text="Grace Hopper")
    expect(row).to_contain_text("Superuser")
    look(page)
    page.get_by_label("Search").fill("north clinic")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("rowheader")).to_contain_text(["Northside Clinic"])
    page.get_by_label("Search").fill("zzz")
    expect(page.get_by_text("Nobody of that name")).to_be_visible()
    look(page)


def test_a_disabled_account_is_refused_until_it_is_enabled(browse: Browsing, world: World) -> None:
    person = world.new_person("xenia", client=True)
    page = browse("/people", by=world.superuser)
    accounts_of(page, person)
    look(page)
    dialog = page.get_by_role("dialog", name="Account of")
    dialog.get_by_role("button", name="Disable").click()
    question = page.get_by_role("dialog", name="Disable Xenia?")
    look(page)
    question.get_by_role("button", name="Cancel").click()
    assert answers(person) == 200
    dialog.get_by_role("button", name="Disable").click()
    question.get_by_role("button", name="Disable").click()
    expect(dialog).to_contain_text("Is refused everywhere.")
    assert answers(person) == 401
    dialog.get_by_role("button", name="Enable").click()
    expect(dialog).to_contain_text("May sign in and use the API.")
    assert answers(person) == 200


def test_a_superuser_can_make_another_and_not_lose_their_own_rights(
    browse: Browsing, world: World
) -> None:
    person = world.new_person("yara", actor=True)
    page = browse("/people", by=world.superuser)
    accounts_of(page, person)
    dialog = page.get_by_role("dialog", name="Account of")
    dialog.get_by_role("button", name="Make superuser").click()
    page.get_by_role("dialog", name="Make Yara a superuser?").get_by_role(
        "button", name="Make superuser"
    ).click()
    expect(dialog).to_contain_text("Manages people")
    assert person.client.get("/api/accounts/").status_code == 200
    dialog.get_by_role("button", name="Take rights").click()
    page.get_by_role("dialog", name="Take superuser rights").get_by_role(
        "button", name="Take rights"
    ).click()
    expect(dialog).to_contain_text("Has no rights beyond")
    assert person.client.get("/api/accounts/").status_code == 403
    dialog.get_by_role("button", name="Close").click()

    accounts_of(page, world.superuser)
    own = page.get_by_role("dialog", name="Account of Grace Hopper")
    for name in ("Disable", "Take rights"):
        button = own.get_by_role("button", name=name)
        expect(button).to_have_attribute("aria-disabled", "true")
        expect(button).to_have_attribute("title", re.compile("Another superuser can"))


def test_a_forgotten_password_and_a_lost_token_are_replaced(browse: Browsing, world: World) -> None:
    person = world.new_person("zoe", actor=True)
    page = browse("/people", by=world.superuser)
    accounts_of(page, person)
    dialog = page.get_by_role("dialog", name="Account of")
    dialog.get_by_role("button", name="Set password").click()
    dialog.get_by_label("New password of").fill("a new one for her")
    look(page)
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Zoe has a new password.")).to_be_visible()
    door = browse("/sign-in")
    sign_in(door, person, password="a new one for her")
    expect(door.get_by_role("heading", level=1, name="Overview")).to_be_visible()

    dialog.get_by_role("button", name="New token").click()
    page.get_by_role("dialog", name="Give Zoe a new API token?").get_by_role(
        "button", name="Make a new token"
    ).click()
    token = dialog.locator(".secret code").inner_text()
    assert answers(person) == 401
    person.client.headers["Authorization"] = f"Token {token}"
    assert answers(person) == 200


def test_where_anybody_may_register_an_invitation_is_said_not_to_be_needed(
    browse: Browsing, world: World
) -> None:
    page = browse("/people?tab=invitations", by=world.superuser)
    expect(page.get_by_text("Registration is open")).to_be_visible()
    page.get_by_label("Valid for days").fill("999")
    browse.watch(page).expect("400 POST .*/api/invitations/")
    page.get_by_role("button", name="Create invitation").click()
    expect(page.locator(".fault").or_(page.get_by_role("alert"))).to_contain_text("365")
    look(page)


def test_everybody_sees_people_without_what_is_private(browse: Browsing, world: World) -> None:
    page = browse("/people", by=world.participants[0])
    expect(page.get_by_role("row").filter(has_text="Ada Lovelace")).to_contain_text(
        "Runs trainings"
    )
    expect(page.get_by_role("main")).not_to_contain_text("ada@example.org")
    look(page)


def test_a_group_is_made_filled_and_dissolved(browse: Browsing, world: World) -> None:
    person = world.new_person("quinn", actor=True)
    page = browse("/people?tab=groups", by=person)
    expect(page.get_by_text("You are in no group")).to_be_visible()
    look(page)
    page.get_by_label("Name of a new group").fill("Lung project")
    page.get_by_role("button", name="Create group").click()
    group = page.locator("section").filter(
        has=page.get_by_role("heading", level=2, name="Lung project")
    )
    expect(group.get_by_role("listitem")).to_have_count(1)
    group.get_by_label("Add to Lung project").select_option("Ada Lovelace (ada)")
    group.get_by_role("button", name="Add", exact=True).click()
    expect(group.get_by_role("listitem")).to_have_count(2)
    look(page)
    group.get_by_role("button", name="Remove Ada Lovelace").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(group.get_by_role("listitem")).to_have_count(1)
    group.get_by_role("button", name="Delete group").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("You are in no group")).to_be_visible()


def test_a_superuser_sees_every_group_with_its_members(browse: Browsing, world: World) -> None:
    page = browse("/people?tab=groups", by=world.superuser)
    group = page.locator("section").filter(
        has=page.get_by_role("heading", level=2, name="Hospitals")
    )
    expect(group).to_contain_text("Lakeview Hospital")
    look(page)
