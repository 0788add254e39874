"""What holds for every page of the console, looked at as it is shown at the moment."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.console.browsers import PHONE

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
ALL_RULES = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
RULES_OF_COLOUR = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}

_RUN_AXE = """
async (rules) => {
  const { violations } = await axe.run(document, {
    runOnly: rules,
    resultTypes: ["violations"],
  });
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}\\n    ${node.target.join(" ")}\\n    ${node.html}`));
}
"""
# What sticks out, named by the innermost elements that reach over the right edge of the page.
_OVERFLOW = """
() => {
  const root = document.documentElement;
  const width = root.clientWidth;
  if (root.scrollWidth <= width) return [];
  const out = [...document.body.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > width + 0.5,
  );
  const innermost = out.filter((one) => !out.some((other) => other !== one && one.contains(other)));
  const names = innermost.map((element) => element.outerHTML.slice(0, 120));
  return [`${root.scrollWidth} px of content in ${width} px`, ...names];
}
"""
_SETTLED = """
() => Promise.all(document.getAnimations()
  .filter((animation) => animation.effect.getComputedTiming().endTime !== Infinity)
  .map((animation) => animation.finished.catch(() => {})))
"""


def look(page: Page) -> None:
    """Fail unless the page is fit to be seen; leaves it as it was.

    Accessible by axe (WCAG 2.2 AA and good practice) in light and dark, wide and at 375 px, without
    a horizontal scroll bar, with one h1. The browser's own errors are `Watch`'s.
    """
    before = page.viewport_size
    scrolled = page.evaluate("scrollY")
    assert before is not None
    wide = (before["width"], before["height"])
    dark_at_first = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    chosen = page.evaluate("document.documentElement.dataset.theme ?? null")
    assert chosen is None, f"look() switches the system's theme, and the page has chosen {chosen}"
    expect(page.locator("h1")).not_to_have_count(0)
    expect(page.locator(".skeleton")).to_have_count(0)
    headings = [heading.inner_text() for heading in page.locator("h1").all()]
    assert len(headings) == 1, f"one h1 on a page, not {headings}"
    found: list[str] = []
    # A theme changes nothing but colours, and a width changes no colour.
    for size, theme, rules in (
        (wide, "light", ALL_RULES),
        (wide, "dark", RULES_OF_COLOUR),
        (PHONE, "light", ALL_RULES),
    ):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        # Scrolled, the bar that sticks to the top lies over what is looked at.
        page.evaluate("scrollTo(0, 0)")
        page.evaluate(_SETTLED)
        found += [f"[{size[0]} px, {theme}] {one}" for one in violations(page, rules)]
        found += [f"[{size[0]} px, {theme}] {one}" for one in overflow(page)]
    page.set_viewport_size(before)
    page.emulate_media(color_scheme="dark" if dark_at_first else "light")
    page.evaluate("y => scrollTo(0, y)", scrolled)
    assert found == [], "\n" + "\n".join(found)


@cache
def _axe() -> str:
    return AXE.read_text()


def violations(page: Page, rules: Mapping[str, object] = ALL_RULES) -> list[str]:
    """What axe finds in the page as it is now."""
    if not page.evaluate("typeof axe === 'object'"):
        # Half a megabyte: `page.evaluate` would wrap it, and look at what it returns.
        devtools = page.context.new_cdp_session(page)
        devtools.send("Runtime.evaluate", {"expression": _axe(), "silent": True})
        devtools.detach()
    found: list[Any] = page.evaluate(_RUN_AXE, rules)
    return [str(one) for one in found]


def overflow(page: Page) -> list[str]:
    """What is wider than the page, if it scrolls horizontally."""
    found: list[Any] = page.evaluate(_OVERFLOW)
    return [str(one) for one in found]
