"""A browser window that notes everything which went wrong in it, and looks at a page as a demanding reader would."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

ROOT = Path(__file__).parents[2]
AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOTS = ROOT / "screenshots"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

Theme = Literal["light", "dark"]

_NOTE_VIOLATIONS = """
window.__refused = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__refused.push(`${event.violatedDirective} refused ${event.blockedURI}`));
"""

_REACHED = """selector => {
  const node = document.querySelector(selector);
  const { left, top, width, height } = node.getBoundingClientRect();
  const there = document.elementFromPoint(left + width / 2, top + height / 2);
  return there !== null && (node.contains(there) || there.contains(node));
}"""


class Window:
    """One page and its troubles: console errors, exceptions, and what the Content-Security-Policy refused."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        context.add_init_script(_NOTE_VIOLATIONS)
        context.set_default_timeout(20_000)
        self.url = url
        self.page: Page = context.new_page()
        self.troubles: list[str] = []
        self._allowed: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            at = message.location.get("url", "")
            self.troubles.append(f"console {message.type}: {message.text} ({at})")

    def allow(self, pattern: str) -> None:
        """What the present test provokes, such as Chromium's note of an answer of 404."""
        self._allowed.append(pattern)

    def goto(self, path: str) -> None:
        """Load the address afresh, and wait for the page's title."""
        self.page.goto(self.url + path)
        self.page.locator("main h1").wait_for()

    def set_theme(self, theme: Theme) -> None:
        """As kept by the menu, for the pages that are loaded from now on."""
        self.page.evaluate("theme => localStorage.setItem('theme', theme)", theme)

    def settle(self) -> None:
        """Until nothing on the page is loading."""
        loading = self.page.locator(".skeleton, [aria-busy=true], [role=status][aria-label=Loading]")
        expect(loading).to_have_count(0)
        self.page.evaluate("document.fonts.ready.then(() => true)")

    def shoot(self, name: str) -> None:
        """Keep a screenshot of what is in view."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    def axe(self) -> list[str]:
        """What axe-core finds against WCAG 2.2 A and AA, one line each."""
        if not self.page.evaluate("'axe' in window"):
            # Through the debugger, not as a <script>, which the policy refuses.
            self.page.evaluate(AXE.read_text("utf-8") + "; undefined")
        found: list[dict[str, Any]] = self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})"
            ".then(result => result.violations)",
            RULES,
        )
        for one in found:
            if (
                one["id"] == "target-size"
            ):  # what has been scrolled out of sight is no target, whatever lies over it
                one["nodes"] = [
                    node for node in one["nodes"] if self.page.evaluate(_REACHED, node["target"][0])
                ]
        return [
            f"{one['id']}: {one['help']} at {', '.join(str(node['target'][0]) for node in one['nodes'][:4])}"
            f" {_contrast(one['nodes'][0])}"
            for one in found
            if one["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def assert_untroubled(self) -> None:
        """Nothing was refused, thrown or complained of, other than what was allowed."""
        refused = [f"policy: {line}" for line in self.page.evaluate("window.__refused ?? []")]
        left = [
            line
            for line in [*self.troubles, *refused]
            if not any(re.search(pattern, line) for pattern in self._allowed)
        ]
        self.troubles.clear()
        self._allowed.clear()
        assert left == []


def _contrast(node: dict[str, Any]) -> str:
    for check in node.get("any", []):
        data = check.get("data")
        if isinstance(data, dict) and "contrastRatio" in data:
            return f"({data.get('fgColor')} on {data.get('bgColor')}: {data.get('contrastRatio')})"
    return ""


@contextmanager
def open_window(
    browser: Browser, url: str, *, width: int = 1280, height: int = 800, **options: Any
) -> Generator[Window]:
    """A window with storage of its own."""
    context = browser.new_context(
        locale="en-US", viewport={"width": width, "height": height}, reduced_motion="reduce", **options
    )
    try:
        yield Window(context, url)
    finally:
        context.close()
