"""A training is set up in steps."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from backend.trainings.options import TrainingOptions, UncertaintyOptions
from examples.digits.network import digits_network
from tests.console.browsers import A_WHILE, Browsing
from tests.console.looking import look
from tests.console.world import World
from tests.federations import Person
from tests.model_files import pickled, torchscript

TESTS_AND_UPDATES = {
    # Said by one choice each, not by fields of their own.
    "skip_model_tests",
    "model_test_after_each_round",
    "delete_local_models_after_aggregation",
}


@pytest.fixture
def actor(world: World) -> Person:
    return world.new_person("actor", actor=True)


@pytest.fixture
def model_id(world: World, actor: Person) -> str:
    return world.new_model("Digits", owner=actor)


def forward(page: Page, step: str) -> None:
    page.get_by_role("button", name=f"Next: {step}").click()


def at_step(page: Page, step: str) -> Locator:
    """The heading of the step, once it is shown."""
    heading = page.get_by_role("heading", name=step, level=2, exact=True)
    expect(heading).to_be_visible()
    return heading


def choose_model(page: Page, name: str = "Digits") -> None:
    page.get_by_role("radio", name=name, exact=True).check()


def rounds_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Rounds", exact=True)


def add_person(page: Page, words: str) -> None:
    search = page.get_by_role("combobox", name="Participants")
    search.fill(words)
    search.press("Enter")


def chips(page: Page) -> Locator:
    return page.get_by_role("list", name="Chosen").get_by_role("listitem")


def trainings_of(person: Person) -> list[dict[str, Any]]:
    return list(person.client.get("/api/trainings/").json())


def the_training(person: Person) -> dict[str, Any]:
    """The only training of this person, by itself."""
    (training,) = trainings_of(person)
    return dict(person.client.get(f"/api/trainings/{training['id']}/").json())


def test_a_training_is_created_as_it_was_set_up(
    world: World, actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse("/trainings/new", by=actor)
    choose_model(page)
    expect(page.get_by_role("table", name="Layers of the model")).to_be_visible()
    look(page)
    forward(page, "Methods")
    at_step(page, "Methods")
    page.get_by_role("radio", name="FedProx").check()
    page.get_by_label("Strength of the pull").fill("0.05")
    page.get_by_role("radio", name="MC dropout").check()
    page.get_by_label("Passes for each prediction").fill("25")
    page.get_by_label("Turn outputs into probabilities").check()
    look(page)
    forward(page, "Rounds")
    at_step(page, "Rounds")
    rounds_field(page).fill("4")
    page.get_by_label("Metrics").fill(" accuracy, loss,accuracy ")
    look(page)
    forward(page, "Participants")
    add_person(page, "northside")
    add_person(page, "hospital lakeview")
    expect(chips(page)).to_have_text(["Northside Clinic", "Lakeview Hospital"])
    look(page)
    forward(page, "Summary")
    at_step(page, "Summary")
    expect(page.get_by_text("Each of 2 participants trains in each of 4 rounds.")).to_be_visible()
    look(page)
    assert trainings_of(actor) == []
    page.get_by_role("button", name="Create", exact=True).click()

    expect(page).to_have_url(re.compile(r"#/trainings/[0-9a-f-]{36}$"))
    training = the_training(actor)
    assert page.url.endswith(training["id"])
    assert (training["state"], training["model"]) == ("I", model_id)
    assert (training["aggregation_method"], training["uncertainty_method"]) == (
        "FedProx",
        "MC_DROPOUT",
    )
    assert training["options"] == {"mu": 0.05, "uncertainty": {"N": 25, "softmax": True}}
    assert training["target_num_updates"] == 4
    assert training["metric_names"] == ["accuracy", "loss"]
    assert training["participants"] == [person.id for person in world.participants[:2]]


def test_a_training_can_be_created_and_started_by_the_keyboard_alone(
    actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse("/trainings/new", by=actor)
    page.get_by_role("radio", name="Digits").focus()
    page.keyboard.press("Space")
    press_through_to(page, page.get_by_role("button", name="Next: Methods"))
    expect(at_step(page, "Methods")).to_be_focused()
    press_through_to(page, page.get_by_role("button", name="Next: Rounds"))
    expect(at_step(page, "Rounds")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(at_step(page, "Participants")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("hos")
    expect(page.get_by_role("option").first).to_contain_text("Lakeview Hospital")
    page.keyboard.press("Enter")
    page.keyboard.type("clinic")
    page.keyboard.press("Enter")
    expect(chips(page)).to_have_count(2)
    page.keyboard.press("Backspace")
    expect(chips(page)).to_have_text(["Lakeview Hospital"])
    press_through_to(page, page.get_by_role("button", name="Next: Summary"))
    expect(at_step(page, "Summary")).to_be_focused()
    press_through_to(page, page.get_by_role("button", name="Create and start"))

    expect(page).to_have_url(re.compile(r"#/trainings/[0-9a-f-]{36}$"))
    training = the_training(actor)
    assert (training["state"], training["target_num_updates"]) == ("O", 3)


def press_through_to(page: Page, target: Locator) -> None:
    """Press Tab until `target` has the focus, then Enter."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"Tab does not lead to {target}")


def test_every_option_reaches_the_server(
    world: World, actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse("/trainings/new", by=actor)
    choose_model(page)
    forward(page, "Methods")
    forward(page, "Rounds")
    page.get_by_label("Participants test the model").select_option(label="after the last one only")
    duration(page, "A round waits for updates", "1.5", "hours")
    duration(page, "Enough updates at the deadline", "60", "per cent")
    page.get_by_text("More options").click()
    page.get_by_label("Who misses a deadline").select_option(label="is removed from the training")
    duration(page, "A test waits for figures", "90", "seconds")
    duration(page, "Participants drawn for each round", "3", "participants")
    page.get_by_label("Seed").fill("-7")
    page.get_by_label("Versions of the model to keep").fill("5")
    page.get_by_label("Keep updates for so many rounds").fill("2")
    page.get_by_label("Precision of the sum").select_option(label="float32")
    look(page)
    forward(page, "Participants")
    page.get_by_role("combobox", name="Participants").fill("northside")
    page.get_by_role("option").first.click()
    forward(page, "Summary")
    expect(page.get_by_text("A cohort of 3 is more than the 1 participant")).to_be_visible()
    page.get_by_role("button", name="Create", exact=True).click()

    expect(page).to_have_url(re.compile(r"#/trainings/[0-9a-f-]{36}$"))
    assert the_training(actor)["options"] == {
        "model_test_after_each_round": False,
        "round_deadline_seconds": 5400,
        "quorum": 0.6,
        "on_missed": "remove",
        "test_deadline_seconds": 90,
        "cohort": 3,
        "seed": -7,
        "keep_versions": 5,
        "keep_updates_rounds": 2,
        "accumulate": "float32",
    }


def duration(page: Page, label: str, amount: str, unit: str) -> None:
    """Fill in a number and its unit."""
    page.get_by_label(label, exact=True).fill(amount)
    page.get_by_label(f"{label}: unit").select_option(label=unit)


def test_options_and_their_bounds_are_the_servers(actor: Person, browse: Browsing) -> None:
    page = browse("/trainings/new", by=actor)

    shown: dict[str, dict[str, Any]] = page.evaluate(
        "import('/static/js/views/new_training/options.js').then(({ OPTIONS }) => OPTIONS)"
    )

    known = bounds_of(TrainingOptions) | bounds_of(UncertaintyOptions)
    assert shown.keys() == known.keys() - TESTS_AND_UPDATES - {"uncertainty"}
    for name, option in shown.items():
        match option["kind"]:
            case "whole" | "number" if name != "seed":
                assert (option["min"], option["max"]) == known[name], name
            case "share":
                assert known[name] == {(option["min"], option["max"]), (0, 1)}, name
            case "duration":
                assert (0, option["max"]) == known[name], name
            case "choice":
                assert {value for value, _ in option["choices"]} == known[name], name
            case kind:
                assert kind in {"check", "whole"}, name


def bounds_of(options: type[msgspec.Struct]) -> Mapping[str, object]:
    """By field: (least, most) of a number, the set of choices, or nothing."""

    def bounds(type_: msgspec.inspect.Type) -> object:
        match type_:
            case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
                least = type_.gt if type_.ge is None else type_.ge
                return (least, type_.lt if type_.le is None else type_.le)
            case msgspec.inspect.LiteralType():
                return set(type_.values)
            case msgspec.inspect.UnionType():
                parts = [bounds(part) for part in type_.types if bounds(part) is not None]
                return parts[0] if len(parts) == 1 else set(parts)
            case _:
                return None

    described = msgspec.inspect.type_info(options)
    assert isinstance(described, msgspec.inspect.StructType)
    return {field.name: bounds(field.type) for field in described.fields}


def test_each_step_says_what_is_wrong_before_the_next(
    actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse("/trainings/new", by=actor)

    forward(page, "Methods")
    expect(page.get_by_role("alert")).to_have_text("Choose a model, or upload one.")
    choose_model(page)
    forward(page, "Methods")
    page.get_by_role("radio", name="FedDC").check()
    period = page.get_by_label("Rounds of training behind one aggregation")
    period.fill("0")
    forward(page, "Rounds")
    expect(period).to_be_focused()
    expect(period).to_have_accessible_description(re.compile("from 1 to 1,000"))
    look(page)
    period.fill("4")
    expect(period).not_to_have_attribute("aria-invalid", "true")
    forward(page, "Rounds")
    at_step(page, "Rounds")
    page.get_by_label("Aggregations").fill("2.5")
    duration(page, "Enough updates at the deadline", "120", "per cent")
    page.get_by_text("More options").click()
    page.get_by_label("Versions of the model to keep").fill("none")
    page.get_by_text("More options").click()
    # The summary is not reached past what is wrong, and what is folded away unfolds.
    page.get_by_role("button", name="Summary").click()
    at_step(page, "Rounds")
    expect(page.get_by_text("Give a whole number from 1 to 1,000,000.").first).to_be_visible()
    expect(page.get_by_text("Give more than 0 and at most 100 per cent.")).to_be_visible()
    expect(page.get_by_label("Versions of the model to keep")).to_be_visible()
    look(page)


def test_nothing_is_lost_by_going_back_by_a_reload_or_by_leaving(
    actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse("/trainings/new", by=actor)
    choose_model(page)
    forward(page, "Methods")
    page.get_by_role("radio", name="MC dropout").check()
    forward(page, "Rounds")
    rounds_field(page).fill("33")
    forward(page, "Participants")
    add_person(page, "northside")

    page.go_back()
    expect(rounds_field(page)).to_have_value("33")
    page.get_by_role("button", name="Methods").first.click()
    expect(page.get_by_role("radio", name="MC dropout")).to_be_checked()
    page.reload()
    at_step(page, "Methods")
    expect(page.get_by_role("radio", name="MC dropout")).to_be_checked()
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()
    page.goto("/#/trainings/new?step=people")
    expect(chips(page)).to_have_text(["Northside Clinic"])
    expect(page.get_by_text("you began to set up before")).to_be_visible()
    look(page)
    page.get_by_role("button", name="Start over").click()
    at_step(page, "Model")
    expect(page.get_by_role("radio", name="Digits")).not_to_be_checked()


def test_a_model_is_uploaded_on_the_way(actor: Person, browse: Browsing) -> None:
    page = browse("/trainings/new", by=actor)

    expect(page.get_by_role("tab", name="Upload a new one")).to_have_attribute(
        "aria-selected", "true"
    )
    look(page)
    page.get_by_label("Model file").set_input_files(
        {
            "name": "fresh.pt",
            "mimeType": "application/octet-stream",
            "buffer": torchscript(digits_network(0)),
        }
    )
    page.get_by_role("button", name="Upload model").click()

    expect(page.get_by_role("radio", name="fresh")).to_be_checked()
    forward(page, "Methods")
    at_step(page, "Methods")


def test_a_model_in_a_training_is_said_to_be_copied(
    world: World, actor: Person, model_id: str, browse: Browsing
) -> None:
    world.new_training(
        actor=actor, model=model_id, participants=world.participants[:1], started=False
    )
    page = browse(f"/trainings/new?model={model_id}", by=actor)

    expect(page.get_by_role("radio", name="Digits")).to_be_checked()
    expect(page.get_by_text("starts from a copy of its present weights")).to_be_visible()
    for step in ("Methods", "Rounds", "Participants", "Summary"):
        forward(page, step)
    expect(page.get_by_text("as a copy of its present weights")).to_be_visible()
    page.get_by_role("button", name="Create and start").press("Enter")
    expect(page.get_by_text("There is nobody to train yet").last).to_be_visible()
    assert len(trainings_of(actor)) == 1
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page).to_have_url(re.compile(r"#/trainings/[0-9a-f-]{36}$"))

    models = {training["model"] for training in trainings_of(actor)}
    assert len(models) == 2
    assert model_id in models


def test_methods_that_a_model_cannot_do_say_why(
    world: World, actor: Person, model_id: str, browse: Browsing
) -> None:
    world.new_model("Swag", owner=actor, type="SWAG")
    page = browse("/trainings/new", by=actor)

    choose_model(page)
    forward(page, "Methods")
    for method, reason in (("SWAG", "not uploaded as a SWAG model"), ("Ensemble", "mean model")):
        choice = page.get_by_role("radio", name=method)
        expect(choice).to_be_disabled()
        expect(choice).to_have_accessible_description(re.compile(reason))
    page.get_by_role("button", name="Model").first.click()
    choose_model(page, "Swag")
    forward(page, "Methods")
    expect(page.get_by_role("radio", name="SWAG")).to_be_checked()
    expect(page.get_by_label("Passes for each prediction")).to_be_visible()


def test_missing_dropout_is_noticed(world: World, actor: Person, browse: Browsing) -> None:
    plain = digits_network(0)
    plain.pop(9)
    plain.pop(5)
    model_id = world.new_model("Plain", pickled(plain), owner=actor)
    page = browse(f"/trainings/new?model={model_id}&step=methods", by=actor)

    page.get_by_role("radio", name="MC dropout").check()

    expect(page.get_by_text("shows no dropout")).to_be_visible()


def test_a_mean_model_is_set_up_to_predict_only(
    world: World, actor: Person, browse: Browsing
) -> None:
    members = [world.new_model(f"Seed {seed}", seed=seed, owner=actor) for seed in (1, 2)]
    made = actor.client.post(
        "/api/models/",
        json={"type": "MEAN", "name": "Both", "description": "", "models": members},
    )
    page = browse(f"/trainings/new?model={made.json()['model_id']}", by=actor)

    expect(page.get_by_text("A mean model is not trained further")).to_be_visible()
    forward(page, "Methods")
    expect(page.get_by_role("radio", name="Ensemble")).to_be_checked()
    expect(page.get_by_role("radio", name="FedAvg")).to_have_count(0)
    page.get_by_label("Turn outputs into probabilities").check()
    look(page)
    forward(page, "Summary")
    expect(page.get_by_role("button", name="Create and start")).to_have_count(0)
    look(page)
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page).to_have_url(re.compile(r"#/trainings/[0-9a-f-]{36}$"))

    training = the_training(actor)
    assert training["uncertainty_method"] == "ENSEMBLE"
    assert training["options"] == {"uncertainty": {"softmax": True}}


def test_participants_are_found_among_a_thousand(
    actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse.blank(by=actor)
    page.context.route("**/api/users/", with_a_thousand_more)
    browse.watch(page).expect("400 POST .*/api/trainings/$")
    page.goto(f"/#/trainings/new?model={model_id}&step=people")

    search = page.get_by_role("combobox", name="Participants")
    expect(page.get_by_text(re.compile(r"50 of 1,\d\d\d people shown"))).to_be_visible()
    expect(page.get_by_role("option")).to_have_count(50)
    search.fill("practice 0731")
    expect(page.get_by_role("option")).to_have_count(1)
    search.press("Enter")
    search.fill("practice-07")
    page.get_by_role("button", name="Add all 99").click()
    expect(page.get_by_text("100 people chosen")).to_be_visible()
    expect(chips(page)).to_have_count(60)
    page.get_by_role("button", name="Show 40 more").click()
    expect(chips(page)).to_have_count(100)
    page.get_by_role("button", name="Remove Practice 0731").click()
    expect(page.get_by_text("99 people chosen")).to_be_visible()
    look(page)

    # They are of this test's making, so the server refuses them, as it does who was just removed.
    forward(page, "Summary")
    page.get_by_role("button", name="Create", exact=True).click()
    at_step(page, "Participants")
    expect(search).to_have_accessible_description(re.compile("Not all provided users were found!"))
    look(page)
    page.get_by_role("button", name="Remove all").click()
    expect(search).not_to_have_attribute("aria-invalid", "true")


def with_a_thousand_more(route: Route) -> None:
    users = route.fetch().json()
    more = [
        {
            **users[0],
            "id": f"00000000-0000-4000-8000-{number:012}",
            "username": f"practice-{number:04}",
            "first_name": "Practice",
            "last_name": f"{number:04}",
            "client": True,
        }
        for number in range(1000)
    ]
    route.fulfill(json=users + more)


def test_who_registers_meanwhile_can_be_chosen(
    world: World, actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse.with_clock("/trainings/new", by=actor)
    choose_model(page)
    forward(page, "Methods")
    forward(page, "Rounds")
    at_step(page, "Rounds")
    before = world.new_person("early", client=True)
    forward(page, "Participants")
    search = page.get_by_role("combobox", name="Participants")
    search.fill(before.username)
    expect(page.get_by_role("option", name=before.username)).to_be_visible()
    waited_for = world.new_person("late", client=True)
    search.fill(waited_for.username)
    page.clock.fast_forward(A_WHILE)
    expect(page.get_by_role("option", name=waited_for.username)).to_be_visible()


def test_what_the_server_refuses_as_a_whole_is_said_at_the_end(
    actor: Person, model_id: str, browse: Browsing
) -> None:
    page = browse.blank(by=actor)
    browse.watch(page).expect("400 POST .*/api/trainings/$")
    # The summary does not show the model's layers, and does not wait for them.
    with page.expect_response(f"**/api/models/{model_id}/metadata/"):
        page.goto(f"/#/trainings/new?model={model_id}&step=summary")
    at_step(page, "Summary")

    assert actor.client.delete(f"/api/models/{model_id}/").status_code == 200
    page.get_by_role("button", name="Create", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text(f"Model {model_id} not found")
    look(page)


# Of everything that is seen in the page's middle, with what comes before and after it. As one
# string: Playwright would carry each of its hundred thousands of values by itself.
_LOOKS = """() => JSON.stringify([...document.querySelectorAll("#main, #main *")].filter(
  (one) => one.checkVisibility(),
).flatMap((one) =>
  [null, "::before", "::after"].flatMap((part) => {
    const style = getComputedStyle(one, part);
    if (part && ["none", "normal"].includes(style.content)) return [];
    return [[
      `${one.tagName}.${one.className}${part ?? ""}`,
      Object.fromEntries([...style].map((name) => [name, style[name]])),
    ]];
  }),
))"""


def test_pages_that_were_visited_before_do_not_change_how_a_page_looks(
    browse: Browsing, world: World
) -> None:
    def looks(page: Page) -> list[tuple[str, dict[str, str]]]:
        at_step(page, "Model")
        expect(page.get_by_role("status", name="Loading")).to_have_count(0)
        # Whatever is focused or hovered is not what is compared.
        page.evaluate("document.activeElement.blur()")
        page.mouse.move(0, 0)
        return [(name, styles) for name, styles in json.loads(page.evaluate(_LOOKS))]

    fresh = looks(browse("/trainings/new", by=world.newcomer))
    page = browse("/", by=world.newcomer)
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    expect(page.locator("#main .steps")).to_be_visible()
    for link, title in (("Models", "Models"), ("Try it", "Try it"), ("People", "People")):
        page.get_by_role("navigation").get_by_role("link", name=link, exact=True).click()
        expect(page.get_by_role("heading", name=title, level=1)).to_be_visible()
    page.evaluate("location.hash = '#/trainings/new'")

    then = looks(page)
    assert [name for name, _ in then] == [name for name, _ in fresh]
    changed = [
        (name, one, styles[one], before[one])
        for (name, styles), (_, before) in zip(then, fresh, strict=True)
        for one in styles
        if styles[one] != before[one]
    ]
    assert changed == []
