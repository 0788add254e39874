"""Try it: drawings, images and numbers are asked about, and the answer is told in full."""

import base64
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import FilePayload, JSHandle, Locator, Page, Request, expect
from torch import nn

from tests.console.browsers import PHONE, Browsing
from tests.console.looking import look
from tests.console.trainings import digits, digits_model
from tests.console.world import World
from tests.federations import Person
from tests.model_files import pickled, torchscript

# Imported for its effect before any other import from torchvision.
from compute.torchvision_guard import torchvision as _torchvision  # noqa: F401 isort:skip
from torchvision.transforms import v2

TABLE = ("None", "30")
STROKE = [(0.25, 0.2), (0.75, 0.2), (0.65, 0.4), (0.55, 0.6), (0.45, 0.85)]

Floats = NDArray[np.float64]


@dataclass
class Shelf:
    """Models of one person, one for each way in which a model can answer."""

    world: World
    owner: Person
    house: Person

    @cached_property
    def table(self) -> str:
        """Three probabilities for 30 numbers, by MC dropout."""
        return self._training(
            self._model("Table", _tabular(nn.Softmax(1)), TABLE), uncertainty_method="MC_DROPOUT"
        )

    @cached_property
    def raw(self) -> str:
        """Three numbers that are no probabilities for 30 numbers, by MC dropout."""
        return self._training(
            self._model("Raw", _tabular(nn.Identity()), TABLE), uncertainty_method="MC_DROPOUT"
        )

    @cached_property
    def plain(self) -> str:
        """A class for 30 numbers, and nothing else."""
        return self._model("Plain", _tabular(nn.Identity()), TABLE)

    @cached_property
    def scans(self) -> str:
        """Ten probabilities for any image, which is scaled to 28 × 28 in one channel first."""
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 10), nn.Dropout(0.5), nn.Linear(10, 10), nn.Softmax(1)
        )
        preprocessing = v2.Compose(
            [
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Resize((28, 28)),
                v2.Grayscale(),
            ]
        )
        model = self.world.new_model(
            "Scans",
            torchscript(network),
            owner=self.owner,
            input_shape=("None", "28", "28"),
            preprocessing=pickled(preprocessing),
        )
        return self._training(model, uncertainty_method="MC_DROPOUT")

    @cached_property
    def wordless(self) -> str:
        """A class for four numbers; it does not say what it takes."""
        return self._model("Wordless", nn.Linear(4, 2), ("None",))

    @cached_property
    def moments(self) -> str:
        """A SWAG model before its SWAG round."""
        model = self.world.new_model("Spread", owner=self.owner, type="SWAG")
        return self._training(model, uncertainty_method="SWAG")

    def _model(self, name: str, network: nn.Module, shape: tuple[str, ...]) -> str:
        return self.world.new_model(name, torchscript(network), owner=self.owner, input_shape=shape)

    def _training(self, model: str, **order: object) -> str:
        self.world.new_training(
            model=model, actor=self.owner, participants=[self.house], started=False, **order
        )
        return model


def _tabular(end: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3), end)


@pytest.fixture(scope="package")
def shelf(world: World) -> Shelf:
    return Shelf(world, world.new_person("mia", actor=True), world.new_person("pia", client=True))


class Asked:
    """The requests for predictions that a page made."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def by(self, page: Page) -> "Asked":
        page.on("request", self._note)
        return self

    def _note(self, request: Request) -> None:
        if request.url.endswith("/api/inference/"):
            self.requests.append(request)

    @property
    def last(self) -> dict[str, Any]:
        return dict(self.requests[-1].post_data_json)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """One stroke on the drawing surface, in shares of its sides."""
    surface = page.get_by_role("img", name="Drawing surface")
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def numbers(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Numbers")


def answer(page: Page) -> Locator:
    return page.get_by_role("region", name="Answer")


def ask(page: Page) -> Locator:
    """Ask by the button under the input; the answer, once it is there."""
    page.get_by_role("region", name="Input").get_by_role("button", name="Ask the model").click()
    expect(answer(page)).to_have_attribute("data-state", "fresh")
    return answer(page)


@contextmanager
def asked_again(page: Page) -> Iterator[None]:
    """Inside, the input is changed; afterwards the answer is the one to the new input."""
    with page.expect_response("**/api/inference/"):
        yield
    expect(answer(page)).to_have_attribute("data-state", "fresh")


def seeded(page: Page, seed: str) -> None:
    page.get_by_text("More options").click()
    page.get_by_label("Seed (optional)").fill(seed)


def percent(share: float) -> str:
    """As the page has it, of shares that are neither tiny nor nearly all."""
    hundred = 100 * share
    return f"{hundred:.1f} %" if hundred < 9.95 or hundred >= 99.5 else f"{round(hundred)} %"


def png(pixels: NDArray[np.uint8]) -> FilePayload:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return FilePayload(name="picture.png", mimeType="image/png", buffer=content.getvalue())


def test_a_drawn_digit_is_answered_with_error_bars_and_its_uncertainty_in_two_parts(
    browse: Browsing, world: World, asked: Asked
) -> None:
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    expect(page.get_by_text("Draw something first.").first).to_be_visible()
    look(page)
    asked.by(page)
    draw(page, STROKE)
    seeded(page, "7")
    clean, noisy = ask(page).locator(".reading").all()
    look(page)

    sent = asked.last
    assert sent["model_id"] == world.finished.model_id
    assert sent["seed"] == 7
    assert np.array(sent["model_input"]).shape == (2, 1, 8, 8)
    truth = world.actor.client.post("/api/inference/", json=sent).json()
    for index, reading in enumerate((clean, noisy)):
        means, stds = truth["inference"][index], truth["uncertainty"]["std"][index]
        top = int(np.argmax(means))
        headline = f"Class {top}, {percent(means[top])} ± {percent(stds[top])}"
        expect(reading.locator(".headline")).to_have_text(headline)
        rows = reading.get_by_role("table").locator("tbody tr")
        expect(rows).to_have_count(10)
        expect(rows.nth(top)).to_contain_text(f"{percent(means[top])} ± {percent(stds[top])}")
        entropies = [
            truth["uncertainty"][name][index] / np.log(10)
            for name in ("predictive_entropy", "expected_entropy", "mutual_info")
        ]
        total, left_open, unknown = (percent(share) for share in entropies)
        split = reading.locator(".split")
        expect(split).to_contain_text(f"{total} of the maximum")
        expect(split.locator("dd").nth(0)).to_have_text(left_open)
        expect(split.locator("dd").nth(2)).to_have_text(unknown)
        width = split.locator(".split-bar .split-open").evaluate(
            "one => parseFloat(one.style.width)"
        )
        assert width == pytest.approx(100 * entropies[1], abs=0.01)
    expect(answer(page).get_by_role("status")).to_contain_text("With this noise the answer")


def test_the_same_noise_comes_again_until_another_is_wanted(
    browse: Browsing, shelf: Shelf, asked: Asked
) -> None:
    page = browse(f"/try?model={shelf.table}", by=shelf.owner)
    asked.by(page)
    numbers(page).fill(" ".join(str(k / 10) for k in range(30)))
    ask(page)
    first = asked.last["model_input"]
    page.reload()
    numbers(page).fill(" ".join(str(k / 10) for k in range(30)))
    ask(page)
    assert asked.last["model_input"] == first
    assert first[0] != first[1]

    before = len(asked.requests)
    with asked_again(page):
        page.get_by_role("button", name="Other noise").click()
    assert len(asked.requests) == before + 1, "the answer follows the input by itself"
    assert asked.last["model_input"][0] == first[0]
    assert asked.last["model_input"][1] != first[1]

    with asked_again(page):
        page.get_by_label("Compare with a noisy copy").uncheck()
    expect(answer(page).locator(".reading")).to_have_count(1)
    assert asked.last["model_input"] == first[:1]


def test_pixels_are_set_and_asked_about_with_the_keyboard_alone(
    browse: Browsing, world: World, asked: Asked
) -> None:
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    asked.by(page)
    cell = page.get_by_role("gridcell", name="Row 1, column 1: 0 %")
    cell.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if cell.evaluate("one => one === document.activeElement"):
            break
    expect(cell).to_be_focused()
    for key in ("ArrowRight", "ArrowDown", "Space", "ArrowDown", "3", "End", "9", "-"):
        page.keyboard.press(key)
    expect(page.get_by_role("gridcell", name="Row 3, column 8: 90 %")).to_be_focused()
    button = page.get_by_role("region", name="Input").get_by_role("button", name="Ask the model")
    for _ in range(20):
        page.keyboard.press("Tab")
        if button.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(answer(page)).to_have_attribute("data-state", "fresh")

    wanted = np.zeros((8, 8))
    wanted[1, 1], wanted[2, 1], wanted[2, 7] = 1, 0.3333, 0.9
    assert np.array(asked.last["model_input"][0][0]).tolist() == wanted.tolist()


def test_an_image_is_brought_to_what_the_model_takes(
    browse: Browsing, world: World, asked: Asked
) -> None:
    # Dark ink on white paper, 40 × 32: the middle 32 × 32 in blocks of 4 × 4 are the 8 × 8 pixels.
    inside = np.random.default_rng(0).integers(0, 256, (32, 32))
    inside[0], inside[-1], inside[:, 0], inside[:, -1] = 255, 255, 255, 255
    paper = np.pad(inside, ((0, 0), (4, 4)), constant_values=255).astype(np.uint8)
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    asked.by(page)
    page.get_by_role("tab", name="Image").click()
    page.get_by_label("Drop an image here").set_input_files(png(paper))
    expect(page.get_by_label("Invert: dark ink becomes light")).to_be_checked()
    look(page)
    ask(page)
    blocks: Floats = inside.reshape(8, 4, 8, 4).mean((1, 3)) / 255
    np.testing.assert_allclose(asked.last["model_input"][0][0], 1 - blocks, atol=1e-4)

    with asked_again(page):
        page.get_by_label("Values that the model was trained with").select_option("255")
    np.testing.assert_allclose(asked.last["model_input"][0][0], 255 * (1 - blocks), atol=0.03)


def test_a_model_with_preprocessing_is_sent_the_image_itself_and_a_noisy_copy(
    browse: Browsing, shelf: Shelf, asked: Asked
) -> None:
    picture = png(np.random.default_rng(1).integers(0, 256, (56, 56), dtype=np.uint8))
    page = browse(f"/try?model={shelf.scans}", by=shelf.owner)
    asked.by(page)
    page.get_by_label("Drop an image here").set_input_files(picture)
    expect(page.get_by_role("heading", name="What is sent")).to_be_visible()
    seeded(page, "5")
    readings = ask(page).locator(".reading")
    expect(readings).to_have_count(2)
    assert len(asked.requests) == 2
    look(page)
    truth = shelf.owner.client.post(
        "/api/inference/",
        data={"model_id": shelf.scans, "return_format": "json", "seed": "5"},
        files={"model_input": picture["buffer"]},
    ).json()
    for reading in readings.all():
        # One row each: a grey picture in four or three channels would be read as several.
        expect(reading.locator(".bars tbody tr")).to_have_count(10)
    expect(page.get_by_text("Sample 1 of")).to_have_count(0)
    top = int(np.argmax(truth["inference"][0]))
    expect(readings.first.locator(".headline")).to_have_text(
        f"Class {top}, {percent(truth['inference'][0][top])} "
        f"± {percent(truth['uncertainty']['std'][0][top])}"
    )
    expect(page.get_by_role("region", name="curl command")).to_contain_text(
        'model_input=@"picture.png"'
    )

    page.get_by_role("tab", name="Draw").click()
    with asked_again(page):
        draw(page, STROKE)
    expect(readings.first.locator(".bars tbody tr")).to_have_count(10)
    expect(page.get_by_text("Sample 1 of")).to_have_count(0)


def test_a_preprocessed_image_needs_no_batch_dimension(browse: Browsing, world: World) -> None:
    picture = png(np.random.default_rng(2).integers(0, 256, (56, 56), dtype=np.uint8))
    page = browse(f"/try?model={world.images}", by=world.actor)
    page.get_by_label("Drop an image here").set_input_files(picture)
    expect(ask(page).locator(".reading .headline").first).to_have_text(re.compile(r"^Class \d$"))


def test_a_dropped_file_that_is_no_image_is_refused_where_it_was_dropped(
    browse: Browsing, shelf: Shelf
) -> None:
    page = browse(f"/try?model={shelf.scans}", by=shelf.owner)
    choose = page.get_by_label("Drop an image here")
    broken = FilePayload(name="broken.png", mimeType="image/png", buffer=b"\x89PNG\r\n\x1a\nno")
    choose.set_input_files(broken)
    expect(choose).to_have_accessible_description(
        "PNG, JPEG, WebP, BMP or GIF. “broken.png” is damaged: it cannot be read as an image."
    )
    look(page)


# Files as a browser hands them over: from another window by a drag, or from the clipboard.
_FILES = """(files) => {
  const transfer = new DataTransfer();
  for (const { name, mimeType, content } of files) {
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: mimeType }));
  }
  return transfer;
}"""


def carried(page: Page, *files: FilePayload) -> JSHandle:
    return page.evaluate_handle(
        _FILES,
        [
            {**file, "buffer": None, "content": base64.b64encode(file["buffer"]).decode()}
            for file in files
        ],
    )


def drop(page: Page, target: Locator, *files: FilePayload) -> None:
    """Drag files over a place and let go of them there, as a person does with the mouse."""
    transfer = carried(page, *files)
    for event in ("dragenter", "dragover"):
        target.dispatch_event(event, {"dataTransfer": transfer})
    refused = target.evaluate(
        "(place, dataTransfer) => place.dispatchEvent("
        "new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))",
        transfer,
    )
    assert not refused, "the browser would leave the page and open the file instead"


def test_an_image_is_dropped_anywhere_on_the_page(browse: Browsing, shelf: Shelf) -> None:
    first, second = (
        png(np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8))
        for seed in (1, 2)
    )
    page = browse(f"/try?model={shelf.scans}", by=shelf.owner)
    place = page.locator(".drop")
    place.dispatch_event("dragover", {"dataTransfer": carried(page, first)})
    expect(place).to_have_class("drop is-over")
    drop(page, place, FilePayload(**{**first, "name": "on-it.png"}))
    expect(place).to_have_class("drop")
    expect(page.get_by_text("on-it.png, 40 × 40 pixels")).to_be_visible()
    ask(page)

    with asked_again(page):
        drop(page, page.get_by_role("heading", level=1), FilePayload(**{**second, "name": "b.png"}))
    expect(page.get_by_text("b.png, 40 × 40 pixels")).to_be_visible()

    text = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"1 2 3")
    drop(page, place, text)
    expect(page.get_by_text("“notes.txt” is no PNG, JPEG, WebP, BMP or GIF image.")).to_be_visible()
    expect(page.get_by_text("b.png, 40 × 40 pixels")).to_be_visible()


def test_an_image_that_is_dropped_while_drawing_is_taken_as_the_input(
    browse: Browsing, world: World
) -> None:
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    picture = png(np.full((32, 32), 255, dtype=np.uint8))
    drop(page, page.get_by_role("img", name="Drawing surface"), picture)
    expect(page.get_by_role("tab", name="Image")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_text("picture.png, 32 × 32 pixels")).to_be_visible()
    expect(page.get_by_label("Invert: dark ink becomes light")).to_be_checked()


def test_an_image_is_pasted(browse: Browsing, shelf: Shelf) -> None:
    page = browse(f"/try?model={shelf.scans}", by=shelf.owner)
    expect(page.get_by_label("Drop an image here")).to_be_visible()
    pasted = carried(page, png(np.zeros((20, 24), dtype=np.uint8)))
    page.evaluate(
        "(clipboardData) => document.body.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))",
        pasted,
    )
    expect(page.get_by_text("picture.png, 24 × 20 pixels")).to_be_visible()
    expect(ask(page).locator(".reading")).to_have_count(2)


@pytest.mark.parametrize(
    "text",
    [
        "\t".join(["0.5"] * 30),
        "\r\n".join(["0.5"] * 30),
        ";".join(["0.5"] * 30),
        json.dumps([[0.5] * 30]),
        "\ufeff" + ",".join(["0.5"] * 30) + "\n",
    ],
    ids=["a row of a sheet", "a column of a sheet", "semicolons", "JSON", "a CSV file"],
)
def test_numbers_are_pasted_as_other_programs_copy_them(
    browse: Browsing, shelf: Shelf, asked: Asked, text: str
) -> None:
    page = browse(f"/try?model={shelf.table}", by=shelf.owner)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    asked.by(page)
    page.get_by_label("Compare with a noisy copy").uncheck()
    page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    numbers(page).focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_text("30 numbers: one sample.")).to_be_visible()
    ask(page)
    assert asked.last["model_input"] == [[0.5] * 30]


def test_everything_is_done_by_touch(browse: Browsing, world: World, asked: Asked) -> None:
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor, size=PHONE, touch=True)
    asked.by(page)
    surface = page.get_by_role("img", name="Drawing surface")
    surface.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    box = surface.bounding_box()
    assert box is not None
    finger = page.context.new_cdp_session(page)

    def touch(kind: str, *fingers: tuple[int, float, float]) -> None:
        points = [
            {"id": id, "x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
            for id, x, y in fingers
        ]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (1, *STROKE[0]))
    for place in STROKE[1:3]:
        touch("touchMove", (1, *place))
    # A hand that rests on the screen draws nothing.
    touch("touchStart", (1, *STROKE[2]), (2, 0.9, 0.9))
    touch("touchMove", (1, *STROKE[3]), (2, 0.95, 0.95))
    touch("touchMove", (1, *STROKE[4]))
    touch("touchEnd")
    expect(page.get_by_role("img", name="Drawing surface with your drawing")).to_be_visible()
    assert page.evaluate("scrollY") == before, "the page is not scrolled instead"
    tap(
        page.get_by_role("button", name="Undo"),
        page.get_by_role("img", name="Drawing surface, empty"),
    )

    tap(
        page.get_by_role("gridcell", name="Row 2, column 3: 0 %"),
        page.get_by_role("gridcell", name="Row 2, column 3: 100 %"),
    )
    tap(
        page.get_by_role("region", name="Input").get_by_role("button", name="Ask the model"),
        page.locator("[data-state='fresh']"),
    )
    assert asked.last["model_input"][0][0][1][2] == 1
    overview = page.get_by_role("link", name="Overview")
    tap(page.get_by_role("button", name="Open menu"), overview)
    tap(overview, page.get_by_role("heading", name="Overview", level=1))


def tap(target: Locator, shown: Locator) -> None:
    """Tap until what it does is shown.

    A tap clicks nothing where it follows another touch within a moment, as a person's does not, or
    where a busy machine draws it out to a long press.
    """
    for _ in range(3):
        target.tap()
        try:
            expect(shown).to_be_visible(timeout=15_000)
        except AssertionError:
            continue
        return
    expect(shown).to_be_visible()


def test_numbers_are_counted_as_they_come(browse: Browsing, world: World) -> None:
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    page.get_by_role("tab", name="Numbers").click()
    numbers(page).fill("1 2 3")
    expect(numbers(page)).to_have_accessible_description(
        "64 numbers are needed (1 × 8 × 8) for a sample. Nested JSON, or separated by commas, "
        "spaces or line breaks. 64 numbers are needed (1 × 8 × 8); there are 3."
    )
    button = page.get_by_role("region", name="Input").get_by_role("button", name="Ask the model")
    expect(button).to_have_attribute("aria-disabled", "true")
    look(page)
    numbers(page).fill("1, 2, three")
    expect(page.locator(".fault")).to_have_text("“three”, number 3, is no number.")
    numbers(page).fill("[[1, 2], [3]]")
    expect(page.locator(".fault")).to_have_text("Lists beside each other differ in length.")
    numbers(page).fill("[[1, 2], [3")
    expect(page.locator(".fault")).to_contain_text("a bracket or comma may be missing")
    numbers(page).fill(",".join(["0.5"] * 64))
    expect(page.get_by_text("64 numbers: one sample.")).to_be_visible()
    expect(button).not_to_have_attribute("aria-disabled", "true")


def test_several_samples_are_asked_about_at_once_and_leafed_through(
    browse: Browsing, world: World, asked: Asked
) -> None:
    _, test = digits()
    samples = test.images[:3].astype(float).round(4)
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    asked.by(page)
    page.get_by_role("tab", name="Numbers").click()
    numbers(page).fill(json.dumps(samples.tolist()))
    seeded(page, "3")
    ask(page)
    expect(page.get_by_text("Sample 1 of 3")).to_be_visible()
    look(page)
    assert asked.last["model_input"][:3] == samples.tolist()
    truth = world.actor.client.post("/api/inference/", json=asked.last).json()["inference"]
    page.get_by_role("button", name="Next sample").click()
    page.get_by_role("button", name="Next sample").click()
    expect(page.get_by_role("button", name="Next sample")).to_be_disabled()
    for reading, row in zip(answer(page).locator(".headline").all(), (2, 5), strict=True):
        expect(reading).to_contain_text(f"Class {int(np.argmax(truth[row]))}, ")


def test_another_model_is_asked_about_the_same_input(browse: Browsing, shelf: Shelf) -> None:
    page = browse(f"/try?model={shelf.table}", by=shelf.owner)
    assert shelf.raw
    page.reload()
    numbers(page).fill(" ".join(["1"] * 30))
    expect(ask(page).locator(".split")).to_have_count(2)
    chosen = page.get_by_label("Model", exact=True)
    chosen.focus()
    chosen.select_option(shelf.raw)
    expect(chosen).to_have_value(shelf.raw)
    expect(chosen).to_be_focused()
    expect(answer(page)).to_contain_text("These are the model's raw outputs, not probabilities")
    expect(answer(page).locator(".split")).to_have_count(0)
    expect(answer(page).locator(".headline").first).to_have_text(
        re.compile(r"^Output \d, -?[\d.]+\s±\s[\d.]+$")
    )
    expect(page).to_have_url(re.compile(shelf.raw))
    look(page)


def test_a_model_without_an_uncertainty_method_says_how_to_get_one(
    browse: Browsing, shelf: Shelf, asked: Asked
) -> None:
    page = browse(f"/try?model={shelf.plain}", by=shelf.owner)
    asked.by(page)
    numbers(page).fill(" ".join(["0.5"] * 30))
    readings = ask(page)
    truth = shelf.owner.client.post("/api/inference/", json=asked.last).json()["inference"]
    expect(readings.locator(".headline")).to_have_text([f"Class {one}" for one in truth])
    expect(readings).to_contain_text("answers with the class only")
    expect(readings.get_by_role("link", name="New training")).to_have_attribute(
        "href", f"#/trainings/new?model={shelf.plain}"
    )
    look(page)


def test_a_swag_model_cannot_be_asked_before_its_swag_round(browse: Browsing, shelf: Shelf) -> None:
    page = browse(f"/try?model={shelf.moments}", by=shelf.owner)
    draw(page, STROKE)
    why = "A SWAG model can be asked when its training had its SWAG round"
    for button in page.get_by_role("button", name="Ask the model").all():
        expect(button).to_have_attribute("title", re.compile(why))
        button.click(force=True)
    expect(page.get_by_role("region", name="Input").get_by_text(why).first).to_be_visible()
    look(page)


def test_what_the_server_refuses_stands_where_the_answer_would_be(
    browse: Browsing, shelf: Shelf
) -> None:
    page = browse(f"/try?model={shelf.wordless}", by=shelf.owner)
    browse.watch(page).expect("400 POST .*/api/inference/")
    numbers(page).fill("1 2 3")
    page.get_by_role("region", name="Input").get_by_role("button", name="Ask the model").click()
    expect(answer(page).get_by_role("alert")).to_contain_text("The model could not answer.")
    expect(answer(page).get_by_role("alert")).to_contain_text("cannot be multiplied")
    look(page)
    numbers(page).fill("1 2 3 4")
    expect(ask(page).locator(".headline").first).to_have_text(re.compile(r"^Class [01]$"))


def test_the_code_to_copy_asks_what_the_page_asks(
    browse: Browsing, world: World, shelf: Shelf, asked: Asked
) -> None:
    page = browse(f"/try?model={shelf.table}", by=shelf.owner)
    asked.by(page)
    numbers(page).fill(" ".join(str(k / 10) for k in range(30)))
    seeded(page, "11")
    ask(page)
    truth = shelf.owner.client.post("/api/inference/", json=asked.last).json()

    command = page.get_by_role("region", name="curl command").inner_text()
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["curl", "--fail-with-body", f"{world.server.url}/api/inference/"]
    assert "Authorization: Token $STARLING_TOKEN" in words
    assert json.loads(words[words.index("--data") + 1]) == asked.last

    page.get_by_role("tab", name="Python").click()
    program = page.get_by_role("region", name="Python program").inner_text()
    done = subprocess.run(
        [sys.executable, "-c", program.replace("print(answer.json())", "print(answer.text)")],
        env=os.environ | {"STARLING_TOKEN": shelf.owner.token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == truth
    assert shelf.owner.token not in page.content()


def test_a_long_question_is_a_file_to_download(
    browse: Browsing, world: World, asked: Asked
) -> None:
    _, test = digits()
    page = browse(f"/try?model={world.finished.model_id}", by=world.actor)
    asked.by(page)
    page.get_by_role("tab", name="Numbers").click()
    numbers(page).fill(json.dumps(test.images[:30].astype(float).round(4).tolist()))
    expect(page.get_by_role("region", name="curl command")).to_contain_text("--data @question.json")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download question.json").click()
    ask(page)
    assert json.loads(downloading.value.path().read_text()) == asked.last
    look(page)


def test_a_model_that_is_not_ones_own_is_explained_and_another_one_shown(
    browse: Browsing, world: World, shelf: Shelf
) -> None:
    page = browse.blank(by=shelf.owner)
    browse.watch(page).expect(f"403 GET .*{world.digits}/metadata/")
    assert shelf.table
    page.goto(f"/#/try?model={world.digits}")
    expect(page.get_by_text("The model of this address cannot be asked:")).to_be_visible()
    expect(page.get_by_label("Model", exact=True)).to_be_visible()
    look(page)


def test_the_actor_asks_the_update_of_a_participant(
    browse: Browsing, world: World, shelf: Shelf
) -> None:
    training = world.new_training(
        actor=shelf.owner,
        model=world.new_model("Open round", owner=shelf.owner),
        participants=[shelf.house, world.new_person("quinn", client=True)],
        uncertainty_method="MC_DROPOUT",
        options={"uncertainty": {"softmax": True}},
    )
    # As clients of the platform before this one send it: a whole module.
    sent = shelf.house.client.post(
        f"/api/models/{training.model_id}/",
        data={"round": "0", "sample_size": "5", "metric_names": "loss", "metric_values": "1"},
        files={"model_file": ("model.pt", digits_model(seed=5))},
    )
    assert sent.status_code == 201, sent.text
    models = shelf.owner.client.get(f"/api/trainings/{training.id}/models/").json()
    update = next(model for model in models if "base_model" in model)
    page = browse(f"/try?model={update['id']}", by=shelf.owner)
    chosen = page.get_by_label("Model", exact=True)
    expect(chosen).to_have_value(update["id"])
    expect(chosen.locator("option:checked")).to_contain_text("Open round, local of round 0")
    draw(page, STROKE)
    expect(ask(page).locator(".split")).to_have_count(2)


def test_who_has_no_model_is_told_how_one_comes(browse: Browsing, world: World) -> None:
    page = browse("/try", by=world.newcomer)
    expect(page.get_by_role("heading", name="There is no model to ask yet")).to_be_visible()
    expect(page.get_by_role("link", name="Upload a model")).to_have_attribute("href", "#/models")
    look(page)


def test_grey_and_colour_pngs_are_read_back_as_they_were_written(
    browse: Browsing, world: World
) -> None:
    page = browse("/try", by=world.newcomer)
    values = np.random.default_rng(2).integers(0, 256, (3, 5, 7))
    for channels, mode in ((1, "L"), (3, "RGB")):
        encoded = page.evaluate(
            """async ([channels, values]) => {
              const { pngOf } = await import("/static/js/views/try_it/png.js");
              const blob = await pngOf({ channels, height: 5, width: 7, values });
              return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
            }""",
            [channels, (values[:channels] / 255).flatten().tolist()],
        )
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert image.mode == mode
        read = np.asarray(image).reshape(5, 7, channels).transpose(2, 0, 1)
        assert read.tolist() == values[:channels].tolist()


def test_noise_is_normal_and_the_same_for_the_same_seed(browse: Browsing, world: World) -> None:
    page = browse("/try", by=world.newcomer)
    first, again, other = page.evaluate(
        """async () => {
          const { normals } = await import("/static/js/views/try_it/noise.js");
          return [1, 1, 2].map((seed) => Array.from(normals(20000, seed)));
        }"""
    )
    assert first == again
    assert first != other
    drawn = np.array(first)
    assert abs(drawn.mean()) < 4 / np.sqrt(len(drawn))
    assert drawn.std() == pytest.approx(1, abs=0.03)
    assert np.mean(np.abs(drawn) < 1) == pytest.approx(0.6827, abs=0.02)
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03
