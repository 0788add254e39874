"""One's own profile: names, webhook, password, token."""

import re

from playwright.sync_api import expect

from tests.console.browsers import Browsing, sign_in
from tests.console.looking import look
from tests.console.world import World


def test_names_are_saved_and_shown_in_the_navigation(browse: Browsing, world: World) -> None:
    person = world.new_person("olga", client=True)
    page = browse("/profile", by=person)
    look(page)
    page.get_by_label("First name").fill("Olga")
    page.get_by_label("Last name").fill("Ladyzhenskaya")
    page.get_by_label("E-mail").fill("olga@example.org")
    page.locator("form").filter(has=page.get_by_label("First name")).get_by_role(
        "button", name="Save"
    ).click()
    expect(page.get_by_role("navigation")).to_contain_text("Olga Ladyzhenskaya")
    saved = person.client.get("/api/users/myself/").json()
    assert (saved["last_name"], saved["email"]) == ("Ladyzhenskaya", "olga@example.org")


def test_a_webhook_is_set_refused_and_removed(browse: Browsing, world: World) -> None:
    person = world.new_person("petra", client=True)
    page = browse("/profile", by=person)
    field = page.get_by_label("Webhook address")
    save = page.locator("form").filter(has=field).get_by_role("button", name="Save")
    browse.watch(page).expect("400 PATCH .*/profile/")
    field.fill("not an address")
    save.click()
    expect(page.locator(".fault")).to_contain_text("http")
    expect(field).to_have_attribute("aria-invalid", "true")
    look(page)
    field.fill("https://example.org/hook")
    save.click()
    expect(page.get_by_text("Notifications go to your webhook.")).to_be_visible()
    field.fill("")
    save.click()
    expect(page.get_by_text("No webhook any more.")).to_be_visible()
    assert person.client.get("/api/users/myself/").json()["message_endpoint"] == ""


def test_secrets_are_hidden_until_they_are_asked_for(browse: Browsing, world: World) -> None:
    page = browse("/profile", by=world.actor)
    secret = world.actor.client.get("/api/users/myself/webhook-secret/").json()["webhook_secret"]
    for name, text in (("API token", world.actor.token), ("webhook secret", secret)):
        expect(page.get_by_text(text)).to_have_count(0)
        page.get_by_role("button", name=f"Show {name}").click()
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy API token").click()
    assert page.evaluate("navigator.clipboard.readText()") == world.actor.token
    look(page)
    page.get_by_role("button", name="Hide API token").click()
    expect(page.get_by_text(world.actor.token)).to_have_count(0)


def test_the_curl_line_of_the_profile_works(browse: Browsing, world: World) -> None:
    page = browse("/profile", by=world.actor)
    shown = page.get_by_role("region", name="How to use the token").inner_text()
    assert shown.endswith(f"{world.server.url}/api/users/myself/")
    assert '-H "Authorization: Token $STARLING_TOKEN"' in shown


def test_a_replaced_token_ends_the_old_one_after_a_warning(browse: Browsing, world: World) -> None:
    person = world.new_person("rosa", client=True)
    page = browse("/profile", by=person)
    page.get_by_role("button", name="Replace").click()
    question = page.get_by_role("dialog", name="Replace your API token?")
    expect(question).to_contain_text("refused from then on")
    question.get_by_role("button", name="Replace").click()
    section = page.locator("section").filter(
        has=page.get_by_role("heading", level=2, name="API token")
    )
    shown = section.locator(".secret code")
    expect(shown).to_have_text(re.compile("^[0-9a-f]{40}$"))
    token = shown.inner_text()
    assert token != person.token
    assert person.client.get("/api/users/myself/").status_code == 401
    person.client.headers["Authorization"] = f"Token {token}"
    assert person.client.get("/api/users/myself/").status_code == 200


def test_a_changed_password_signs_one_out_elsewhere_only(browse: Browsing, world: World) -> None:
    person = world.new_person("sofia", client=True)
    here, elsewhere = browse("/profile", by=person), browse("/", by=person)
    expect(elsewhere.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    browse.watch(elsewhere).expect("401 GET")
    browse.watch(here).expect("400 POST .*/password/")
    form = here.locator("form").filter(has=here.get_by_label("Present password"))
    form.get_by_label("Present password").fill("guessed")
    form.get_by_label("New password").fill("a better one by far")
    form.get_by_role("button", name="Change password").click()
    expect(form.locator(".fault").or_(form.get_by_role("alert")).first).to_be_visible()
    form.get_by_label("Present password").fill(person.password)
    form.get_by_role("button", name="Change password").click()
    expect(here.get_by_text("Your password is changed.")).to_be_visible()
    expect(form.get_by_label("New password")).to_have_value("")
    look(here)
    expect(elsewhere.get_by_text("Your session has ended")).to_be_visible()
    sign_in(elsewhere, person, password="a better one by far")
    expect(elsewhere.get_by_role("heading", level=1, name="Overview")).to_be_visible()
