"""Models: the list, the page of one, upload, download, delete."""

import hashlib
import re
import warnings
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from torch import nn

from examples.digits.network import digits_network
from tests.console.browsers import Browsing
from tests.console.looking import look
from tests.console.trainings import digits_model
from tests.console.world import World
from tests.federations import Person
from tests.model_files import pickled

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision.transforms import v2


@pytest.fixture
def owner(world: World) -> Person:
    return world.new_person("owner", actor=True)


def row(page: Page, name: str) -> Locator:
    """The row of the table that is named so."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=name, exact=True))


def models_of(person: Person) -> list[dict[str, object]]:
    return list(person.client.get("/api/models/").json())


def choose_file(page: Page, label: str, content: bytes, name: str = "digits.pt") -> None:
    page.get_by_label(label).set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )


def test_the_list_says_what_models_are_and_where_they_stand(world: World, browse: Browsing) -> None:
    page = browse("/models", by=world.actor)

    swag = row(page, "Digits for SWAG")
    expect(swag).to_contain_text("SWAG model")
    expect(swag).to_contain_text("38,282")
    expect(swag).to_contain_text("none")
    page.get_by_label("Search").fill(world.waiting.model_id)
    waiting = row(page, "Digits")
    expect(waiting).to_have_count(1)
    expect(waiting).to_contain_text("Running")
    page.get_by_label("Search").fill("")
    look(page)


def test_models_are_found_by_word_and_kind(world: World, browse: Browsing) -> None:
    page = browse("/models", by=world.actor)

    page.get_by_label("Search").fill("grey SCANNED")
    expect(page.get_by_role("status").filter(has_text="1 of")).to_be_visible()
    expect(row(page, "Scanned forms")).to_be_visible()
    page.get_by_label("Kind").select_option(label="Mean model")
    expect(page.get_by_role("heading", name="No model like that")).to_be_visible()
    page.get_by_label("Search").fill("")
    expect(row(page, "Digits, mean of two")).to_be_visible()
    expect(page).to_have_url(re.compile(r"kind=MEAN$"))


def test_who_has_no_model_is_told_what_belongs_here(world: World, browse: Browsing) -> None:
    page = browse("/models", by=world.newcomer)

    expect(page.get_by_role("heading", name="No models yet")).to_be_visible()
    look(page)
    page.get_by_role("link", name="Upload a model").last.click()
    expect(page.get_by_role("heading", name="New model")).to_be_visible()


def test_an_uploaded_model_shows_its_layers(owner: Person, browse: Browsing) -> None:
    page = browse("/models/new", by=owner)

    choose_file(page, "Model file", pickled(digits_network(0)))
    expect(page.get_by_label("Name", exact=True)).to_have_value("digits")
    page.get_by_label("Description").fill("8 × 8 images of digits")
    for size in ("1", "8", "8"):
        page.get_by_role("button", name="Dimension", exact=True).click()
        page.keyboard.type(size)
    look(page)
    page.get_by_role("button", name="Upload model").click()

    expect(page.get_by_role("heading", name="digits", level=1)).to_be_visible()
    layers = page.get_by_role("table", name="Layers of the model")
    expect(layers.get_by_role("row").filter(has_text="Conv2d").first).to_contain_text(
        "1 × 16 × 8 × 8"
    )
    expect(page.get_by_text("any × 1 × 8 × 8")).to_be_visible()
    look(page)
    (model,) = models_of(owner)
    assert (model["input_shape"], model["description"]) == (
        [None, 1, 8, 8],
        "8 × 8 images of digits",
    )


def test_a_refused_file_is_explained_where_it_was_chosen(owner: Person, browse: Browsing) -> None:
    page = browse("/models/new", by=owner)
    browse.watch(page).expect("400 POST .*/api/models/$")

    page.get_by_role("button", name="Upload model").click()
    expect(page.get_by_label("Model file")).to_have_accessible_description(
        re.compile("Choose the file")
    )
    choose_file(page, "Model file", pickled(digits_network(0).state_dict()))
    page.get_by_role("button", name="Upload model").click()
    file = page.get_by_label("Model file")
    expect(file).to_have_accessible_description(re.compile("holds a state dict .* TorchScript"))
    expect(file).to_be_focused()
    look(page)
    assert models_of(owner) == []

    choose_file(page, "Model file", digits_model())
    page.get_by_role("button", name="Upload model").click()
    expect(page.get_by_role("heading", name="digits", level=1)).to_be_visible()


def test_an_upload_shows_how_far_it_is_and_can_be_cancelled(
    owner: Person, browse: Browsing
) -> None:
    page = browse("/models/new", by=owner)
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000},
    )

    choose_file(page, "Model file", pickled(nn.Linear(1000, 1000)))
    page.get_by_role("button", name="Upload model").click()

    bar = page.get_by_role("progressbar", name="Upload of the model")
    expect(bar).not_to_have_attribute("aria-valuenow", "0")
    expect(page.get_by_text(re.compile(r"of 3\.8 MiB"))).to_be_visible()
    look(page)
    page.get_by_role("button", name="Cancel upload").click()
    expect(bar).to_have_count(0)
    expect(page.get_by_label("Name", exact=True)).to_have_value("digits")
    expect(page.get_by_role("button", name="Upload model")).to_be_enabled()
    assert models_of(owner) == []


def test_a_mean_model_is_made_of_models_found_by_name(
    world: World, owner: Person, browse: Browsing
) -> None:
    for seed in (1, 2, 3):
        world.new_model(f"Seed {seed}", seed=seed, owner=owner)
    page = browse("/models/new?kind=MEAN", by=owner)

    found = page.get_by_role("combobox", name="Members")
    for name in ("seed 3", "seed 1"):
        found.fill(name)
        found.press("Enter")
    page.get_by_label("Name", exact=True).fill("Both")
    look(page)
    page.get_by_role("button", name="Make mean model").click()

    expect(page.get_by_role("heading", name="Both", level=1)).to_be_visible()
    expect(page.get_by_role("link", name="Seed 3")).to_be_visible()
    (mean,) = (model for model in models_of(owner) if model["kind"] == "MEAN")
    names = {model["id"]: model["name"] for model in models_of(owner)}
    members = mean["models"]
    assert isinstance(members, list)
    assert [names[member] for member in members] == ["Seed 3", "Seed 1"]
    assert mean["input_shape"] == [None, 1, 8, 8]


def test_members_of_other_architectures_are_refused_at_the_field(
    world: World, owner: Person, browse: Browsing
) -> None:
    world.new_model("Digits", owner=owner)
    world.new_model("Line", pickled(nn.Linear(3, 2)), owner=owner, input_shape=("None", "3"))
    page = browse("/models/new?kind=MEAN", by=owner)
    browse.watch(page).expect("400 POST .*/api/models/$")

    page.get_by_role("button", name="Add all 2").click()
    page.get_by_label("Name", exact=True).fill("Unequal")
    page.get_by_role("button", name="Make mean model").click()

    expect(page.get_by_role("combobox", name="Members")).to_have_accessible_description(
        re.compile("Invalid model selection")
    )


def test_every_version_can_be_downloaded_and_checked(world: World, browse: Browsing) -> None:
    page = browse(f"/models/{world.finished.model_id}", by=world.actor)

    versions = page.get_by_role("table", name="Versions by round")
    expect(versions.get_by_role("row")).to_have_count(8)  # the head, what was uploaded, six rounds
    expect(versions.get_by_role("row", name="Round 6")).to_contain_text("present")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download round 3").click()
    content = download.value.path().read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    shown = versions.get_by_role("row", name="Round 3").locator("[title]").first
    expect(shown).to_have_attribute("title", digest)
    with page.expect_download() as tensors:
        page.get_by_role("link", name="Download: Tensors alone").click()
    assert tensors.value.suggested_filename.endswith(".safetensors")
    look(page)


def test_preprocessing_is_added_and_replaced(
    world: World, owner: Person, browse: Browsing, tmp_path: Path
) -> None:
    model_id = world.new_model(owner=owner)
    page = browse(f"/models/{model_id}", by=owner)
    browse.watch(page).expect("400 POST .*/preprocessing/$")

    page.get_by_role("button", name="Upload preprocessing").click()
    dialog = page.get_by_role("dialog", name="Upload preprocessing")
    choose_file(page, "Preprocessing file", b"nothing of the kind")
    dialog.get_by_role("button", name="Upload").click()
    expect(dialog.get_by_label("Preprocessing file")).to_have_accessible_description(
        re.compile("Invalid preprocessing file")
    )
    look(page)
    content = pickled(v2.Compose([v2.Resize((8, 8)), v2.Grayscale()]))
    choose_file(page, "Preprocessing file", content)
    dialog.get_by_role("button", name="Upload").click()

    expect(page.get_by_role("button", name="Replace preprocessing")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download: Preprocessing").click()
    assert download.value.path().read_bytes() == content


def test_a_deleted_model_is_gone_once_it_was_confirmed(
    world: World, owner: Person, browse: Browsing
) -> None:
    model_id = world.new_model("Mistake", owner=owner)
    page = browse(f"/models/{model_id}", by=owner)

    page.get_by_role("button", name="Delete").click()
    look(page)
    page.get_by_role("button", name="Cancel").click()
    assert len(models_of(owner)) == 1
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(page.get_by_role("heading", name="No models yet")).to_be_visible()
    assert models_of(owner) == []


def test_why_a_model_cannot_be_deleted_is_said(world: World, browse: Browsing) -> None:
    page = browse(f"/models/{world.waiting.model_id}", by=world.actor)

    # Playwright presses no button that is said to be disabled; people do.
    page.get_by_role("button", name="Delete").press("Enter")

    expect(page.get_by_text("Its training is running. Abort or delete")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    look(page)


def test_a_strangers_model_is_explained(world: World, browse: Browsing) -> None:
    page = browse(f"/models/{world.finished.model_id}", by=world.newcomer)
    browse.watch(page).expect("403 GET .*/metadata/$")

    expect(page.get_by_role("alert")).to_contain_text("not yours to see")
    look(page)
    page.get_by_role("link", name="All models").click()
    expect(page.get_by_role("heading", name="Models", level=1)).to_be_visible()


def test_participants_see_the_model_and_their_own_updates(world: World, browse: Browsing) -> None:
    member = world.waiting.members[0].person
    page = browse("/models?tab=updates", by=member)

    table = page.get_by_role("table", name="My updates")
    expect(table.get_by_role("row").nth(1)).to_contain_text("Digits")
    look(page)
    table.get_by_role("link", name=re.compile("^Look at the update")).first.click()
    expect(page.get_by_role("heading", name=re.compile("^Update of round"))).to_be_visible()
    look(page)
    page.get_by_role("link", name="Digits").first.click()
    expect(page.get_by_role("heading", name="Digits", level=1)).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    expect(page.get_by_role("link", name="Train it")).to_have_count(0)


def test_updates_are_with_their_model_and_not_in_the_actors_list(
    world: World, browse: Browsing
) -> None:
    page = browse(f"/models/{world.waiting.model_id}", by=world.actor)

    updates = page.get_by_role("table", name="Updates of participants")
    expect(updates.get_by_role("row")).to_have_count(3)
    expect(updates).to_contain_text("Lakeview Hospital")
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("table", name="Models")).to_be_visible()
    expect(page.get_by_role("tab")).to_have_count(0)


def test_a_model_links_to_its_training_and_to_predictions(world: World, browse: Browsing) -> None:
    page = browse(f"/models/{world.finished.model_id}", by=world.actor)

    expect(page.get_by_role("link", name="Try it").last).to_have_attribute(
        "href", f"#/try?model={world.finished.model_id}"
    )
    expect(page.get_by_role("link", name="FedAvg, 6 rounds")).to_have_attribute(
        "href", f"#/trainings/{world.finished.id}"
    )


def test_moments_that_are_not_there_yet_are_explained(world: World, browse: Browsing) -> None:
    page = browse(f"/models/{world.swag}", by=world.actor)

    expect(page.get_by_text("none before a training with SWAG")).to_be_visible()


@pytest.mark.parametrize(
    ("way", "file"),
    [("TorchScript", "model.pt"), ("Pickled module", "model.pt"), ("torch.export", "model.pt2")],
)
def test_models_saved_as_the_page_shows_are_taken(
    world: World, owner: Person, browse: Browsing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    way: str, file: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run_snippet(browse, owner, way, network=digits_network(0).eval())

    world.new_model(way, (tmp_path / file).read_bytes(), owner=owner)


def test_preprocessing_saved_as_the_page_shows_is_taken(
    world: World, owner: Person, browse: Browsing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run_snippet(browse, owner, "Preprocessing")

    world.new_model(owner=owner, preprocessing=(tmp_path / "preprocessing.pt").read_bytes())


def run_snippet(browse: Browsing, by: Person, way: str, **names: object) -> None:
    """Run the Python that the upload page shows for this way to save."""
    page = browse("/models/new", by=by)
    page.get_by_text("How to save a model").click()
    page.get_by_role("tab", name=way).click()
    code = page.get_by_role("region", name=f"Python: {way}").inner_text()
    with warnings.catch_warnings():
        # Of torch about TorchScript, and of its exporter about itself.
        warnings.simplefilter("ignore")
        exec(compile(code, way, "exec"), dict(names))  # noqa: S102 - our page's code is the subject
