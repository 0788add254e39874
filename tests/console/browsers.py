"""Debian's Chromium, and pages that are watched for whatever goes wrong in them."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    Response,
    expect,
)

from tests.federations import Person
from tests.servers import Server

FLAGS = (
    "--no-sandbox",  # the tests may run as root, whom Chromium refuses otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Of two such switches Chromium takes the last: Playwright's features, and then ours.
    "--disable-features="
    + ",".join(
        (
            *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose"),
            *("HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter"),
            *("PaintHolding", "ThirdPartyStoragePartitioning", "OptimizationHints"),
            *("AvoidCorsURLLoaderRestartOnRedirect", "NetworkTimeServiceQuerying"),
            *("AimEnabled", "PreconnectToSearch"),
            # Each page has a window, and each window's address bar would load two pages of its own.
            *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
            # For the next page of a context: here most have one.
            "SpareRendererForSitePerProcess",
        )
    ),
)
# Of every wait: two cores are shared with a server, Ray, and perhaps other tests.
PATIENCE_MILLISECONDS = 60_000
# Milliseconds in which every page that asks again by itself has done so.
A_WHILE = 60_000
DESKTOP = (1440, 900)
PHONE = (375, 812)


def launch(playwright: Playwright) -> Browser:
    """Chromium from the PATH.

    Raises:
        AssertionError: there is none; says how to get it.
    """
    path = shutil.which("chromium")
    if path is None:
        raise AssertionError(
            "The console is tested in Chromium, and there is no `chromium` on the PATH. "
            "Install it: apt-get install chromium"
        )
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    return playwright.chromium.launch(executable_path=path, args=list(FLAGS))


@dataclass
class Watch:
    """What went wrong in a page: console errors, exceptions, refused and unanswered requests.

    A browser aborts requests that nobody waits for any more; those are no failures.
    """

    failures: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(default_factory=list)

    def begin(self, page: Page) -> None:
        """Watch `page` from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.failures.append(f"exception: {error.stack}"))
        page.on("response", self._response)
        page.on("requestfailed", self._unanswered)

    def expect(self, pattern: str) -> None:
        """From now on failures that match are part of the test, for example `401 POST .*/session/`.

        Each pattern has to be met by `end`.
        """
        self._expected.append(re.compile(pattern))

    @contextmanager
    def outage(self) -> Iterator[None]:
        """What fails inside does so because the server is away."""
        before = len(self.failures)
        yield
        del self.failures[before:]

    def unexpected(self) -> list[str]:
        """Failures so far that the test did not expect."""
        return [
            failure
            for failure in self.failures
            if not any(pattern.search(failure) for pattern in self._expected)
        ]

    def end(self) -> None:
        """Raise `AssertionError` for anything that was not expected, or expected in vain."""
        assert self.unexpected() == [], "\n".join(self.unexpected())
        missed = [
            pattern.pattern
            for pattern in self._expected
            if not any(pattern.search(failure) for failure in self.failures)
        ]
        assert missed == [], f"expected failures that did not come: {missed}"

    def _console(self, message: ConsoleMessage) -> None:
        # The response or failure that Chromium reports this way is in the list with its method.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            where = message.location
            self.failures.append(f"console {message.type}: {message.text} ({where['url']})")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.failures.append(f"{response.status} {response.request.method} {response.url}")

    def _unanswered(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":
            self.failures.append(f"{request.failure}: {request.method} {request.url}")


class Browsing:
    """Opens pages of one server's console, each in a browser context of its own."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self._browser = browser
        self._server = server
        self._contexts: list[BrowserContext] = []
        self._watches: dict[Page, Watch] = {}

    def __call__(
        self,
        path: str = "/",
        *,
        by: Person | None = None,
        size: tuple[int, int] = DESKTOP,
        theme: str = "light",
        touch: bool = False,
    ) -> Page:
        """A page at `path` (what stands after `#`), of somebody who has just signed in, or nobody.

        Args:
            by: Signed in by a request of the browser's context; `sign_in` uses the form instead.
            theme: The system's: "light" or "dark".
            touch: A device with a touch screen and without a mouse.
        """
        page = self.blank(by=by, size=size, theme=theme, touch=touch)
        page.goto(f"/#{path}")
        return page

    def with_clock(self, path: str = "/", *, by: Person | None = None) -> Page:
        """A page at `path` whose clock goes as all do until a test puts it forward.

        `page.clock.fast_forward(A_WHILE)` has it ask at once what it would ask for again later.
        """
        page = self.blank(by=by)
        page.clock.install()
        page.goto(f"/#{path}")
        return page

    def blank(
        self,
        *,
        by: Person | None = None,
        size: tuple[int, int] = DESKTOP,
        theme: str = "light",
        touch: bool = False,
    ) -> Page:
        """A page that is watched, and has been nowhere yet."""
        context = self._browser.new_context(
            base_url=self._server.url,
            viewport={"width": size[0], "height": size[1]},
            has_touch=touch,
            is_mobile=touch,
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        if by is not None:
            sign_in_fast(context, by)
        page = context.new_page()
        watch = Watch()
        watch.begin(page)
        self._watches[page] = watch
        return page

    def watch(self, page: Page) -> Watch:
        """What watches `page`."""
        return self._watches[page]

    def close(self) -> None:
        """Close everything; nothing is checked."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()

    def end(self) -> None:
        """Fail for what went wrong in any page."""
        for watch in self._watches.values():
            watch.end()


def sign_in_fast(context: BrowserContext, person: Person) -> None:
    """Give the context a session of `person` without a page."""
    answer = context.request.post(
        "/api/session/", data={"username": person.username, "password": person.password}
    )
    assert answer.ok, f"{answer.status} {answer.text()}"


def sign_in(page: Page, person: Person, *, password: str | None = None) -> None:
    """Fill in and send the form of the sign-in page."""
    page.get_by_label("User name").fill(person.username)
    page.get_by_label("Password", exact=True).fill(password or person.password)
    page.get_by_role("button", name="Sign in").click()
