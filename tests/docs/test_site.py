"""The site builds without a warning, needs no other host, and leaves no snippet untried."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import starling_client
from starling_client import command_line, settings
from starling_client.actor import Models, Trainings

from backend.settings import VARIABLES
from tests.docs.pages import FOLDER, Page
from tests.servers import REPOSITORY, bare_environment

# What asks for another file when a page is opened; a link only does when somebody follows it.
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
ELSEWHERE = ("http:", "https:", "//")

# Which test runs the snippets of a page.
RUN_BY = {
    "audit.md": "backend/audit/test_audit_log.py",
    "client.md": "client/test_page.py",
    "examples.md": "client/test_examples.py",
    "how-to/backup.md": "docs/test_backup.py",
    "how-to/deploy.md": "docs/test_how_to.py",
    "how-to/firewall.md": "docs/test_how_to.py",
    "how-to/method.md": "docs/test_how_to.py",
    "how-to/quorum.md": "docs/test_how_to.py",
    "how-to/secure.md": "docs/test_how_to.py",
    "how-to/upgrade.md": "docs/test_backup.py",
    "notifications.md": "docs/test_how_to.py",
    "quickstart.md": "docs/test_quickstart.py",
    "simulation.md": "docs/test_simulation.py",
    "trainings.md": "docs/test_how_to.py",
    "transfers.md": "docs/test_transfers.py",
}


class Opened(HTMLParser):
    """What a browser loads for a page, and its paragraphs."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.paragraphs: list[str] = []
        self._in_paragraph = False
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if (address := given.get(LOADED.get(tag, ""))) and given.get("rel") != "canonical":
            self.loaded.append(address)
        if tag == "p":
            self.paragraphs.append("")
        self._in_paragraph = tag == "p" or (self._in_paragraph and tag != "div")

    def handle_endtag(self, tag: str) -> None:
        self._in_paragraph = self._in_paragraph and tag != "p"

    def handle_data(self, text: str) -> None:
        if self._in_paragraph:
            self.paragraphs[-1] += text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        # Its notice is about Material's future, not about these pages.
        env=bare_environment() | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    return folder


def pages_of(site: Path) -> Iterator[Path]:
    yield from site.rglob("*.html")


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    opened = {page: Opened(page).loaded for page in pages_of(site)}
    assert len(opened) > 20
    assert all(opened.values())
    assert [
        (page.name, address)
        for page, loaded in opened.items()
        for address in loaded
        if address.startswith(ELSEWHERE)
    ] == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert styles
    assert not any(re.search(r"(url\(|@import\s*)[\"']?(https?:)?//", style) for style in styles)


def test_no_page_shows_its_markup(site: Path) -> None:
    shown = [
        (page.name, paragraph)
        for page in pages_of(site)
        for paragraph in Opened(page).paragraphs
        if re.search(r"^(\||- |\d+\. |#+ )", paragraph, re.MULTILINE)
    ]
    assert shown == []


def test_the_reference_has_every_address_command_and_setting(site: Path) -> None:
    rest, cli, variables = (
        (site / "reference" / f"{name}.html").read_text() for name in ("rest", "cli", "settings")
    )
    requests = set(re.findall(r"^\| `([^`]+)` \|", Page("access.md").text, re.MULTILINE))
    assert len(requests) > 60
    documented = {re.sub(r"/$", "", each) for each in re.findall(r"<code>(.+?)</code>", rest)}
    assert {re.sub(r"/$", "", request) for request in requests} <= documented
    of_client = {
        settings.URL_VARIABLE,
        settings.TOKEN_VARIABLE,
        settings.TRAINING_VARIABLE,
        "STARLING_CLIENT_PASSWORD",
    }
    for name in {variable.name for variable in VARIABLES} | of_client:
        assert f"<code>{name}</code>" in variables
    shown = re.sub(r"<[^>]+>", "", cli)
    for words in ("serve", "demo", "simulate", "verify", "user create", "user invite"):
        assert f"Usage: starling {words} " in shown
    assert command_line.main.commands.keys() == {"join", "register", "doctor"}
    for words in command_line.main.commands:
        assert f"Usage: starling-client {words} " in shown


def is_error(found: object) -> bool:
    return inspect.isclass(found) and issubclass(found, starling_client.StarlingError)


def test_the_sdk_page_has_everything_that_is_exported_and_every_public_method(site: Path) -> None:
    page = (site / "reference" / "sdk.html").read_text()
    anchors = set(re.findall(r' id="([\w.]+)"', page))
    exported = {name: getattr(starling_client, name) for name in starling_client.__all__}
    assert exported.keys() - {"errors"} <= anchors
    errors = [each for each in vars(starling_client.errors).values() if is_error(each)]
    assert len(errors) > 15
    assert {each.__name__ for each in errors} <= anchors
    classes = [*filter(inspect.isclass, exported.values()), Models, Trainings]
    methods = {
        f"{each.__name__}.{name}"
        for each in classes
        # The twins for who awaits have the methods of the others.
        if not each.__name__.startswith("Async")
        for name, member in vars(each).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert {"Task.submit", "Starling.predict", "Trainings.follow"} <= methods <= anchors


def test_every_snippet_is_run_by_a_test() -> None:
    names = [str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.md")]
    with_snippets = {name for name in names if Page(name).languages() - {"text", ""}}
    assert with_snippets == RUN_BY.keys()
    for name, test in RUN_BY.items():
        assert name.rpartition("/")[2] in (REPOSITORY / "tests" / test).read_text(), name
