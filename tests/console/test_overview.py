"""The overview: trainings at a glance, live, and what newcomers are told."""

from playwright.sync_api import Locator, Page, expect

from tests.console.browsers import A_WHILE, Browsing
from tests.console.looking import look
from tests.console.trainings import Training
from tests.console.world import World


def row_of(page: Page, training: Training) -> Locator:
    link = page.locator(f'a[href="#/trainings/{training.id}"]')
    return page.get_by_role("listitem").filter(has=link)


def section(page: Page, title: str) -> Locator:
    heading = page.get_by_role("heading", level=2, name=title)
    return page.locator("section").filter(has=heading)


def test_the_actor_sees_each_training_under_its_state(browse: Browsing, world: World) -> None:
    page = browse("/", by=world.actor)
    for training, title, label in (
        (world.waiting, "Running", "Running"),
        (world.paused, "Running", "Paused"),
        (world.unstarted, "Not started", "Not started"),
        (world.finished, "Finished", "Completed"),
        (world.aborted, "Finished", "Ended early"),
    ):
        row = section(page, title).locator(row_of(page, training))
        expect(row.locator(".badge").first).to_have_text(label)
    look(page)


def test_a_running_training_shows_its_round_who_is_missing_and_the_time_left(
    browse: Browsing, world: World
) -> None:
    row = row_of(browse("/", by=world.actor), world.waiting)
    expect(row).to_contain_text("Round 1 · 1 of 4 rounds done")
    expect(row).to_contain_text("Waiting for 3 of 5 participants.")
    expect(row).to_contain_text("1 d 23 h left.")
    missing = [member.person.username for member in world.waiting.members[2:]]
    expect(row.get_by_label("Missing").locator(".badge")).to_have_text(missing)
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuemax", "4")


def test_a_finished_training_shows_the_course_of_its_main_metric(
    browse: Browsing, world: World
) -> None:
    row = row_of(browse("/", by=world.actor), world.finished)
    course = world.actor.client.get(f"/api/trainings/{world.finished.id}/metrics/").json()
    (points,) = (
        one["points"]
        for one in course["series"]
        if (one["key"], one["kind"], one["reporter"]) == ("accuracy", "test", None)
    )
    assert len(points) == 6
    expect(row.get_by_role("img")).to_have_accessible_name(
        f"Course of accuracy, now {float(f'{points[-1][1]:.4g}'):g}"
    )


def test_a_participant_sees_what_is_waited_for_from_them(browse: Browsing, world: World) -> None:
    late, done = world.participants[4], world.participants[0]
    expect(row_of(browse("/", by=late), world.waiting)).to_contain_text("Waiting for your update.")
    page = browse("/", by=done)
    expect(row_of(page, world.waiting)).to_contain_text("Nothing is waited for from you.")
    expect(row_of(page, world.waiting)).to_contain_text("Run by ada")
    look(page)


def test_progress_appears_without_a_reload_and_keeps_the_page_as_it_is(
    browse: Browsing, world: World
) -> None:
    actor = world.new_person("vera", actor=True)
    model = world.new_model(owner=actor)
    training = world.new_training(
        actor=actor, model=model, participants=world.participants[:2], rounds=3
    )
    page = browse.with_clock("/", by=actor)
    row = row_of(page, training)
    expect(row).to_contain_text("Waiting for 2 of 2 participants.")
    page.evaluate("document.querySelector('li.training').dataset.same = 'yes'")
    training.deliver(training.members[0])
    page.clock.fast_forward(A_WHILE)
    expect(row).to_contain_text("Waiting for 1 of 2 participants.")
    training.deliver(training.members[1])
    training.wait_for_phase("testing")
    page.clock.fast_forward(A_WHILE)
    expect(row).to_contain_text("Waiting for the tests of 2 participants.")
    assert page.evaluate("document.querySelector('li.training').dataset.same") == "yes"


def test_search_and_filters_narrow_the_list_and_stay_in_the_address(
    browse: Browsing, world: World
) -> None:
    actor = world.new_person("wanda", actor=True)
    # No figures: the names of people made for tests have some.
    woods = ["alder", "birch", "cedar", "hazel", "maple", "willow"]
    models = [world.new_model(f"Lungs {wood}", owner=actor) for wood in woods]
    trainings = [
        world.new_training(
            actor=actor, model=model, participants=world.participants[:1], started=k == 0
        )
        for k, model in enumerate(models)
    ]
    page = browse("/", by=actor)
    rows = page.locator("li.training")
    expect(rows).to_have_count(6)
    page.get_by_label("State").select_option("Running")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("State").select_option("All")
    page.get_by_label("Search").fill("lungs hazel")
    expect(rows).to_have_count(1)
    expect(row_of(page, trainings[3])).to_be_visible()
    page.get_by_label("Search").fill("no such")
    look(page)
    page.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(6)


def test_a_newcomer_is_told_what_a_training_is_and_how_to_begin(
    browse: Browsing, world: World
) -> None:
    page = browse("/", by=world.newcomer)
    main = page.get_by_role("main")
    expect(main.get_by_role("heading", level=2)).to_have_text(
        ["Run a training", "Take part in one"]
    )
    expect(main).to_contain_text(f"{world.server.url}/api/users/myself/notifications/")
    expect(main.get_by_role("link", name="Upload a model")).to_be_visible()
    look(page)


def test_the_health_of_the_cluster_is_in_one_line(browse: Browsing, world: World) -> None:
    page = browse("/", by=world.actor)
    health = page.get_by_role("region", name="Health of the cluster")
    expect(health).to_contain_text("Cluster ready")
    expect(health).to_contain_text("of 16 CPUs in use")
    expect(health.get_by_role("link", name="Compute")).to_have_attribute("href", "#/compute")


def test_an_outage_is_said_and_passes_by_itself(browse: Browsing, world: World) -> None:
    page = browse.with_clock("/", by=world.actor)
    expect(row_of(page, world.waiting)).to_be_visible()
    with browse.watch(page).outage():
        page.context.set_offline(True)
        page.clock.fast_forward(A_WHILE)
        expect(page.get_by_text("Not up to date")).to_be_visible()
        expect(row_of(page, world.waiting)).to_be_visible()
        page.context.set_offline(False)
        page.clock.fast_forward(A_WHILE)
        expect(page.get_by_text("Not up to date")).to_be_hidden()
