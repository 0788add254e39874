"""The page of a training: live, whoever looks at it, in every state."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from backend.audit.events import AuditKind
from backend.rounds.state import quorum_of
from tests.console.browsers import Browsing
from tests.console.looking import look
from tests.console.trainings import Training
from tests.console.world import PROBABILITIES, ROUNDS, World
from tests.federations import Person

STATES = ["finished", "waiting", "unstarted", "paused", "aborted"]
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def shown(browse: Browsing, training: Training, by: Person, tab: str = "rounds") -> Page:
    """The page of the training, once it is there and follows what happens."""
    page = browse(f"/trainings/{training.id}?tab={tab}", by=by)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    return page


def confirmed(page: Page, button: str, verb: str | None = None) -> None:
    """Press a button, and the one of the question that follows."""
    page.get_by_role("button", name=button, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name=verb or button, exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def remove(training: Training, person: Person) -> None:
    """The actor ends somebody's participation."""
    removed = training.actor.client.request(
        "DELETE", f"/api/trainings/{training.id}/clients/", json={"clients": [person.id]}
    )
    assert removed.is_success, removed.text


def now(page: Page) -> Locator:
    """The panel that says what happens now."""
    return page.locator("section.now")


@pytest.mark.parametrize(
    ("state", "tab"),
    [*((state, "rounds") for state in STATES), ("waiting", "timeline"), ("waiting", "setup")],
)
def test_training_is_fit_to_be_seen_in_every_state(
    browse: Browsing, world: World, state: str, tab: str
) -> None:
    training: Training = getattr(world, state)
    page = shown(browse, training, world.actor, tab)
    expect(page.get_by_role("heading", level=1)).to_have_text(training.name)
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)
    look(page)


def test_delivery_is_seen_without_a_reload(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:3])
    page = shown(browse, training, world.actor)
    expect(now(page)).to_contain_text("Waiting for updates from 3 of 3 participants")
    expect(now(page)).to_contain_text("Missing: Northside Clinic, Lakeview Hospital")

    training.deliver(training.members[0])
    expect(now(page)).to_contain_text("Waiting for updates from 2 of 3 participants")
    expect(now(page)).to_contain_text("Missing: Lakeview Hospital and St Clare Infirmary")
    board = page.get_by_role("region", name="Participants")
    expect(board.get_by_role("listitem").filter(has_text="Northside")).to_contain_text("Delivered")
    expect(board.get_by_role("listitem").filter(has_text="St Clare")).to_contain_text("Waiting")

    for member in training.members[1:]:
        training.deliver(member)
    expect(now(page)).to_contain_text("Waiting for test results from 3 of 3 participants")
    for member in training.members:
        training.test(member)
    expect(now(page)).to_contain_text("1 of 2 rounds done")
    expect(page.get_by_role("heading", name="accuracy")).to_be_visible()
    expect(page.get_by_role("table", name="Updates of round 0").get_by_role("row")).to_have_count(4)


def test_time_left_and_quorum_are_told(browse: Browsing, world: World) -> None:
    page = shown(browse, world.waiting, world.actor)
    left = page.get_by_role("complementary", name="Time left")
    expect(left).to_contain_text(re.compile(r"1 d \d+ h"))
    expect(left).to_contain_text("3 of 5 are enough then.")
    close = page.get_by_role("button", name="Close round")
    expect(close).to_have_attribute("title", re.compile("2 of at least 3"))
    # It says why instead; Playwright would wait for it to be enabled.
    close.click(force=True)
    expect(page.get_by_role("status").get_by_text("2 of at least 3")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_actor_runs_a_training_from_start_to_abort(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:2], started=False)
    page = shown(browse, training, world.actor)
    expect(page.get_by_role("heading", name="Before it runs")).to_be_visible()

    confirmed(page, "Start")
    expect(now(page)).to_contain_text("Round 0")
    confirmed(page, "Pause")
    expect(now(page)).to_contain_text("Paused")
    confirmed(page, "Resume")
    expect(now(page)).to_contain_text("Round 0")

    expect(page.get_by_role("button", name="Close round")).to_have_attribute(
        "title", "Nobody has delivered yet: there is nothing to aggregate."
    )
    training.deliver(training.members[0])
    expect(page.get_by_role("button", name="Close round")).not_to_have_attribute(
        "title", re.compile(".")
    )
    page.get_by_role("button", name="Close round").click()
    expect(page.get_by_role("dialog")).to_contain_text("Lakeview Hospital is not waited for")
    page.get_by_role("dialog").get_by_role("button", name="Close the round").click()
    expect(now(page)).to_contain_text("Waiting for test results")
    confirmed(page, "End tests", "End the tests")
    expect(now(page)).to_contain_text("Round 1")

    confirmed(page, "Abort")
    expect(page.get_by_role("alert")).to_contain_text("The actor aborted the training.")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    assert training.now()["state"] == "E"


def test_training_is_watched_to_its_end_and_its_model_is_asked(
    browse: Browsing, world: World
) -> None:
    training = world.new_training(
        participants=world.participants[:2],
        rounds=1,
        started=False,
        uncertainty_method="MC_DROPOUT",
        options=PROBABILITIES,
    )
    page = shown(browse, training, world.actor)
    confirmed(page, "Start")
    expect(now(page)).to_contain_text("Waiting for updates from 2 of 2 participants")
    for member in training.members:
        training.deliver(member)
    expect(now(page)).to_contain_text("Waiting for test results from 2 of 2 participants")
    for member in training.members:
        training.test(member)
    expect(page.get_by_role("heading", name="The trained model is ready")).to_be_visible()
    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="accuracy")).to_be_visible()

    page.get_by_role("link", name="Try the model").click()
    page.get_by_role("tab", name="Numbers").click()
    image = training.members[0].tests.images[0].astype(float).tolist()
    page.get_by_role("textbox", name="Numbers").fill(json.dumps(image))
    page.get_by_role("region", name="Input").get_by_role("button", name="Ask the model").click()
    answer = page.get_by_role("region", name="Answer")
    headline = re.compile(r"^Class \d, [\d.]+\s%\s±\s[\d.]+\s%$")
    expect(answer.locator(".headline").first).to_have_text(headline)
    expect(answer.get_by_text("What the model does not know").first).to_be_visible()


def test_training_without_participants_says_what_is_missing(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:1], started=False)
    remove(training, world.participants[0])
    page = shown(browse, training, world.actor)
    expect(page.get_by_role("button", name="Start", exact=True)).to_have_attribute(
        "title", "Add at least one participant first."
    )
    page.get_by_role("button", name="Add participants").click()
    dialog = page.get_by_role("dialog")
    search = dialog.get_by_role("combobox", name="Who takes part")
    search.fill("northside")
    search.press("Enter")
    look(page)
    search.fill("lakeview")
    dialog.get_by_role("option", name="Lakeview Hospital").click()
    dialog.get_by_role("button", name="Add 2 participants").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("2 participants registered")).to_be_visible()

    page.get_by_role("button", name="Remove Lakeview Hospital").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("1 participant registered")).to_be_visible()
    assert training.now()["participants"] == [world.participants[0].id]


def test_refusal_of_the_server_is_shown_where_it_was_asked(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:1], started=False)
    page = shown(browse, training, world.actor)
    page.get_by_role("button", name="Start", exact=True).click()
    # Meanwhile somebody starts it elsewhere.
    training.act("start")
    expect(now(page)).to_contain_text("Round 0")
    browse.watch(page).expect(r"^409 POST .*/start/|^400 POST .*/start/")
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("not in state INITIAL")


def test_deleted_training_is_told_to_who_watches(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:2])
    watching = shown(browse, training, world.participants[0])
    page = shown(browse, training, world.actor)
    confirmed(page, "Delete")
    expect(page).to_have_url(re.compile(r"#/$"))
    expect(watching.get_by_role("heading", name="This training was deleted")).to_be_visible()
    look(watching)


def test_participant_sees_what_is_theirs(browse: Browsing, world: World) -> None:
    me = world.participants[0]
    page = shown(browse, world.finished, me)
    expect(page.get_by_role("heading", name="You in this training")).to_be_visible()
    expect(
        page.get_by_role("group", name="Lines in the charts").get_by_role("button")
    ).to_have_text(["Global", "Northside Clinic (you)"])
    expect(page.get_by_text("How updates compare is shown to the actor only.")).to_be_visible()
    for name in ("Pause", "Delete", "Abort", "Start"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    look(page)
    page.get_by_role("tab", name="Timeline").click()
    expect(page.get_by_text("You reported loss and accuracy").first).to_be_visible()
    expect(page.get_by_text("Lakeview Hospital")).to_have_count(0)


def test_participant_is_told_that_they_are_awaited_and_can_leave(
    browse: Browsing, world: World
) -> None:
    training = world.new_training(participants=world.participants[:2])
    page = shown(browse, training, world.participants[0])
    expect(now(page)).to_contain_text("You are awaited")
    training.deliver(training.members[0])
    expect(now(page)).to_contain_text("You have delivered")
    confirmed(page, "Leave")
    expect(page).to_have_url(re.compile(r"#/$"))
    assert training.now()["participants"] == [world.participants[1].id]


def test_removed_participant_is_told(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:2])
    page = shown(browse, training, world.participants[1])
    browse.watch(page).expect(r"^403 GET .*/trainings/")
    remove(training, world.participants[1])
    expect(
        page.get_by_role("heading", name="You are no longer part of this training")
    ).to_be_visible()


def test_superuser_reads_the_log_of_others(browse: Browsing, world: World) -> None:
    page = shown(browse, world.finished, world.superuser)
    expect(page.get_by_role("heading", level=1)).to_have_text("A training of others")
    expect(page.get_by_text("The training is complete")).to_be_visible()
    look(page)


def test_superuser_with_a_part_is_asked_for_all_trainings_once(
    browse: Browsing, world: World
) -> None:
    training = world.new_training(
        actor=world.superuser,
        model=world.new_model("Watched", owner=world.superuser),
        participants=world.participants[:2],
    )
    page = browse.blank(by=world.superuser)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.partition("/api/")[2]))
    page.goto(f"/#/trainings/{training.id}")
    for missing, member in zip((2, 1), training.members, strict=True):
        expect(now(page)).to_contain_text(f"Waiting for updates from {missing} of 2 participants")
        training.deliver(member)
    expect(now(page)).to_contain_text("Waiting for test results")
    assert asked.count(f"trainings/{training.id}/") > 2
    assert asked.count("users/trainings/") == 1


def test_stranger_and_wrong_address_get_an_explanation(browse: Browsing, world: World) -> None:
    page = browse(f"/trainings/{world.finished.id}", by=world.newcomer)
    browse.watch(page).expect(r"^403 GET .*/trainings/")
    expect(page.get_by_role("heading", name="This training is not yours to see")).to_be_visible()
    browse.watch(page).expect(r"^400 GET .*/trainings/")
    page.goto("/#/trainings/9b7c3c9e-0000-4000-8000-000000000000")
    expect(page.get_by_role("heading", name="There is no such training")).to_be_visible()
    look(page)


# --- Metrics ---


def test_charts_read_out_what_the_server_has(browse: Browsing, world: World) -> None:
    page = shown(browse, world.finished, world.actor)
    answer = world.actor.client.get(f"/api/trainings/{world.finished.id}/metrics/").json()
    [points] = [
        series["points"]
        for series in answer["series"]
        if (series["key"], series["kind"], series["reporter"]) == ("accuracy", "test", None)
    ]
    assert len(points) == ROUNDS
    first, last = (f"{value:.4g}" for value in (points[0][1], points[-1][1]))

    chart = page.get_by_role("group", name=re.compile("^accuracy by rounds done"))
    expect(chart).to_have_attribute(
        "aria-label", re.compile(f"from {first} at 1 to {last} at {ROUNDS}")
    )
    chart.focus()
    chart.press("Home")
    expect(chart.get_by_role("status")).to_contain_text(f"After 1 round: Global {first}")
    chart.press("ArrowRight")
    expect(chart.get_by_role("status")).to_contain_text("After 2 rounds: Global")
    chart.press("End")
    expect(chart.locator(".chart-read")).to_contain_text(last)

    chart.locator(".u-over").hover(position={"x": 2, "y": 20})
    expect(chart.locator(".chart-read")).to_contain_text("After 1 round")
    expect(chart.locator(".chart-read")).to_contain_text("Northside Clinic")


def test_lines_are_hidden_and_shown_by_the_legend(browse: Browsing, world: World) -> None:
    page = shown(browse, world.finished, world.actor)
    chart = page.get_by_role("group", name=re.compile("^accuracy by rounds done"))
    entry = page.get_by_role("button", name="Harbour Medical", exact=True)
    expect(entry).to_have_attribute("aria-pressed", "true")
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "false")
    chart.focus()
    chart.press("End")
    expect(chart.locator(".chart-read")).to_contain_text("Lakeview Hospital")
    expect(chart.locator(".chart-read")).not_to_contain_text("Harbour Medical")


def test_smoothing_and_log_scale_change_the_picture_not_the_figures(
    browse: Browsing, world: World
) -> None:
    page = shown(browse, world.finished, world.actor)
    chart = page.get_by_role("group", name=re.compile("^loss by rounds done"))
    canvas = chart.locator("canvas")
    pictures = [canvas.evaluate("element => element.toDataURL()")]
    page.get_by_role("button", name="Log scale").click()
    expect(page.get_by_role("button", name="Log scale")).to_have_attribute("aria-pressed", "true")
    pictures.append(canvas.evaluate("element => element.toDataURL()"))
    page.get_by_label("Smoothing").fill("0.9")
    expect(page.get_by_text("Smoothing 0.90")).to_be_visible()
    pictures.append(canvas.evaluate("element => element.toDataURL()"))
    assert len(set(pictures)) == 3
    look(page)


def test_table_has_the_figures_of_the_charts(browse: Browsing, world: World) -> None:
    page = shown(browse, world.finished, world.actor)
    page.get_by_role("button", name="Table").click()
    table = page.get_by_role("table", name="accuracy by round")
    expect(table.get_by_role("row")).to_have_count(ROUNDS + 1)
    expect(table.get_by_role("columnheader")).to_contain_text(
        ["Rounds done", "Global", "Lowest", "Median", "Highest", "Northside Clinic"]
    )
    look(page)


def test_metrics_are_exported_as_csv_and_as_a_picture(
    browse: Browsing, world: World, tmp_path: Path
) -> None:
    page = shown(browse, world.finished, world.actor)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.suggested_filename == "Digits-metrics.csv"
    download.value.save_as(tmp_path / "metrics.csv")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    answer = world.actor.client.get(f"/api/trainings/{world.finished.id}/metrics/").json()
    exported = sorted(
        (r["metric"], r["kind"], r["reporter"], int(r["round"]), float(r["value"])) for r in rows
    )
    assert exported == sorted(
        (one["key"], one["kind"], one["reporter"] or "", round, value)
        for one in answer["series"]
        for round, value in one["points"]
    )
    assert {r["name"] for r in rows if r["reporter"] == world.participants[0].id} == {
        "Northside Clinic"
    }

    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    download.value.save_as(tmp_path / "chart.png")
    picture = (tmp_path / "chart.png").read_bytes()
    assert picture.startswith(PNG_MAGIC)
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width > 600
    assert height > 300


def test_a_hundred_charts_are_one_picture(browse: Browsing, world: World, tmp_path: Path) -> None:
    training = world.new_training(participants=world.participants[:1], started=False)
    names = [f"metric {k:03}" for k in range(100)]
    reported = world.participants[0].client.post(
        f"/api/models/{training.model_id}/metrics/",
        json={"metric_names": names, "metric_values": [k + 0.5 for k in range(100)]},
    )
    assert reported.status_code == 201, reported.text
    page = shown(browse, training, world.actor)
    page.get_by_role("button", name="Show all 100 metrics").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    download.value.save_as(tmp_path / "charts.png")
    with Image.open(tmp_path / "charts.png") as picture:
        # Five columns of twenty, each with ink in its last chart.
        tall, grey = picture.height / 20, picture.convert("L")
        wide = picture.width / 5
        for column in range(5):
            cell = grey.crop(
                (*map(int, (column * wide, 19 * tall)), *map(int, ((column + 1) * wide, 20 * tall)))
            )
            low, high = cell.getextrema()
            assert high - low > 100
        assert picture.width * picture.height <= 2**26


def test_a_quorum_is_rounded_as_the_server_rounds_it(browse: Browsing) -> None:
    page = browse("/sign-in")
    fractions = [0.07, 0.3, 1 / 3, 0.5, 0.5000000001, 0.5000000000001, 2 / 3, 0.999, 1e-7, 1.5e-9]
    asked = [(share, all) for share in (*fractions, 1, 3, 250) for all in (0, 1, 2, 7, 100, 5000)]
    found = page.evaluate(
        """async (asked) => {
          const { shareOf } = await import("/static/js/shares.js");
          return asked.map(([share, all]) => shareOf(share, all));
        }""",
        asked,
    )
    assert found == [quorum_of(share, all) for share, all in asked]


def test_many_participants_are_a_band_to_choose_from(browse: Browsing, world: World) -> None:
    crowd = [world.new_person(f"ward{k:02}", client=True) for k in range(12)]
    training = world.new_training(participants=crowd, started=False)
    for k, person in enumerate(crowd):
        reported = person.client.post(
            f"/api/models/{training.model_id}/metrics/",
            data={"metric_names": "accuracy", "metric_values": str(0.5 + k / 100)},
        )
        assert reported.status_code == 201, reported.text
    page = shown(browse, training, world.actor)
    legend = page.get_by_role("group", name="Lines in the charts")
    expect(legend.get_by_role("button")).to_have_text(["Global", "Middle 80 % of 12 participants"])
    legend.get_by_label("Add a participant to the charts").select_option(label="Ward07")
    expect(legend.get_by_role("button", name="Ward07", exact=True)).to_be_visible()
    look(page)
    legend.get_by_role("button", name="Remove Ward07 from the charts").click()
    expect(legend.get_by_role("button", name="Ward07", exact=True)).to_have_count(0)

    page.get_by_label("Search participants").fill("ward1")
    expect(
        page.get_by_role("list", name="Participants and how they stand").get_by_role("listitem")
    ).to_have_count(2)


# --- Outliers ---


def test_careless_update_is_marked_and_explained(browse: Browsing, world: World) -> None:
    page = shown(browse, world.finished, world.actor)
    page.get_by_role("button", name="Round 3", exact=True).click()
    expect(page.get_by_role("heading", name="Round 3", exact=True)).to_be_focused()
    detail = page.get_by_role("region", name="Round 3", exact=True)
    expect(detail.get_by_text("Elm Street Practice stands out:")).to_be_visible()
    expect(detail).to_contain_text("deviations above the median")
    expect(detail).to_contain_text("Much more local training".lower())
    row = detail.get_by_role("row").filter(has_text="Elm Street Practice")
    expect(row.get_by_role("img", name="stands out")).to_be_visible()
    detail.get_by_text("How is this decided?").click()
    expect(detail).to_contain_text("3.5 scaled median absolute deviations")
    look(page)

    board = page.get_by_role("region", name="Participants")
    expect(board.get_by_role("listitem").filter(has_text="Elm Street")).to_contain_text(
        "Stood out in round"
    )


EQUAL = [0.8] * 5
RULE_CASES: dict[str, tuple[list[float], list[float | None], dict[str, list[str]]]] = {
    "much longer": ([1, 1.1, 0.9, 1, 8], [*EQUAL], {"u4": ["norm-high"]}),
    "hardly moved": ([1, 1.1, 0.9, 1, 0], [*EQUAL], {"u4": ["norm-low"]}),
    "against the others": (
        [1, 1.1, 0.9, 1, 1],
        [0.8, 0.82, 0.79, 0.81, -0.4],
        {"u4": ["cosine-low"]},
    ),
    "to agree is no fault": ([1, 1.1, 0.9, 1, 1], [0.2, 0.22, 0.19, 0.21, 0.9], {}),
    "three cannot be told apart": ([1, 1, 9], [0.8, 0.8, -1], {}),
    "trifles among equals": ([1, 1, 1, 1, 1.5], [0.8, 0.8, 0.8, 0.8, 0.7], {}),
    "nobody moved": ([0, 0, 0, 0], [None] * 4, {}),
    # By hand: median 3, MAD 1, scale 1.4826, so that 3 + 3.5 x 1.4826 = 8.189 is the limit.
    "just inside": ([1, 2, 3, 4, 8.18], [*EQUAL], {}),
    "just outside": ([1, 2, 3, 4, 8.2], [*EQUAL], {"u4": ["norm-high"]}),
}


def test_rule_for_outliers(browse: Browsing) -> None:
    page = browse("/sign-in")
    rounds = {
        name: {
            f"u{k}": {"norm": norm, "cosine_to_mean": cosine}
            for k, (norm, cosine) in enumerate(zip(norms, cosines, strict=True))
        }
        for name, (norms, cosines, _) in RULE_CASES.items()
    }
    found = page.evaluate(
        """async (rounds) => {
          const { outliers } = await import("/static/js/views/training/outliers.js");
          const kinds = (figures) =>
            Object.fromEntries(
              [...outliers(figures)].map(([id, all]) => [id, all.map(({ kind }) => kind)]),
            );
          return Object.fromEntries(
            Object.entries(rounds).map(([name, figures]) => [name, kinds(figures)]),
          );
        }""",
        rounds,
    )
    assert found == {name: expected for name, (_, _, expected) in RULE_CASES.items()}


# --- Timeline ---


def test_timeline_tells_what_happened_newest_first(browse: Browsing, world: World) -> None:
    page = shown(browse, world.finished, world.actor, "timeline")
    events = page.locator("li.event")
    expect(events.first).to_contain_text("The training is complete")
    expect(events).to_have_count(50)
    expect(page.get_by_text("You created the training")).to_have_count(0)
    while (older := page.get_by_role("button", name="Load older")).is_visible():
        before = events.count()
        older.click()
        expect(events).not_to_have_count(before)
    expect(events.last).to_contain_text("You created the training with 5 participants")

    page.get_by_label("Show", exact=True).select_option(label="Updates and SWAG moments")
    expect(events).to_have_count(5 * ROUNDS)
    expect(events.first).to_contain_text(re.compile(r".+'s update for round 5 was accepted"))
    events.first.click()
    expect(events.first).to_contain_text("update_accepted")
    look(page)


def test_every_kind_of_event_has_a_sentence_and_a_group(browse: Browsing) -> None:
    page = browse("/sign-in")
    unknown = page.evaluate(
        """async (kinds) => {
          const { GROUPS, sentence } = await import("/static/js/views/training/sentences.js");
          const people = { name: (id) => id, isMe: () => false };
          const event = { who: "Ada", round: 3, redacted: false, details: {} };
          const grouped = Object.values(GROUPS).flatMap(({ kinds }) => kinds);
          return kinds.filter(
            (kind) =>
              !grouped.includes(kind) ||
              sentence({ ...event, kind }, people) === kind.replaceAll("_", " "),
          );
        }""",
        [kind.value for kind in AuditKind],
    )
    assert unknown == []


def test_whole_log_is_downloaded_as_json_lines(
    browse: Browsing, world: World, tmp_path: Path
) -> None:
    page = shown(browse, world.finished, world.actor, "timeline")
    with page.expect_download() as download:
        page.get_by_role("link", name="Whole log (JSON Lines)").click()
    download.value.save_as(tmp_path / "audit.jsonl")
    kinds = [
        json.loads(line)["kind"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()
    ]
    assert (kinds[0], kinds[-1]) == ("training_created", "training_completed")


def test_new_events_come_by_themselves(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:2])
    page = shown(browse, training, world.actor, "timeline")
    expect(page.locator("li.event").first).to_contain_text("Round 0 began")
    training.deliver(training.members[0])
    expect(page.locator("li.event").first).to_contain_text(
        "Northside Clinic's update for round 0 was accepted"
    )


def test_page_catches_up_after_a_restart_of_the_server(browse: Browsing, world: World) -> None:
    training = world.new_training(participants=world.participants[:2])
    page = shown(browse, training, world.actor, "timeline")
    with browse.watch(page).outage():
        world.server.stop()
        expect(page.get_by_text("Reconnecting…")).to_be_visible()
        world.server.start_and_wait()
        training.deliver(training.members[0])
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.locator("li.event").first).to_contain_text(
        "Northside Clinic's update for round 0 was accepted"
    )
    expect(now(page)).to_contain_text("Waiting for updates from 1 of 2 participants")
