"""A Chromium for tests, and what holds for every page: no finding of axe, every control reached by keyboard,
nothing wider than the window, no error in the browser's console, nothing loaded from elsewhere.
"""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
_HAS_CHROMIUM = CHROMIUM.exists()
DESKTOP, ZOOMED, PHONE = (1280, 900), (640, 450), (360, 740)
"""Widths and heights. A desktop at 200 % has half as many pixels of CSS."""
SCREENSHOTS = "CONSOLE_SCREENSHOTS"
"""The variable that names the folder of screenshots; without it there are none."""
_WAIT_MS = 60_000
_MOST_TABS = 500
_LIST_CONTROLS = """() => {
    const controls = "a[href], button, input, select, textarea, summary, [tabindex='0']";
    const isShown = (control) => control.checkVisibility({ visibilityProperty: true });
    window.unreached = new Set([...document.querySelectorAll(controls)].filter(
        (control) => isShown(control) && !control.disabled && control.tabIndex >= 0));
}"""
_NOTE_FOCUS = """() => {
    const focused = document.activeElement;
    window.unreached.delete(focused);
    const box = focused.getBoundingClientRect();
    const isHidden = focused !== document.body && (box.width === 0 || box.right <= 0);
    const left = [...window.unreached].filter((control) => control.isConnected);
    return [isHidden ? focused.outerHTML : "", left.map((control) => control.outerHTML)];
}"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Skips the test where there is none."""
    if not _HAS_CHROMIUM:
        pytest.skip(f"no Chromium at {CHROMIUM} (Debian 12: apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=2 * _WAIT_MS
        )
        yield browser
        await browser.close()


class Visitor:
    """A window at a broker, which remembers what goes wrong in it."""

    def __init__(self, page: Page, base_url: str) -> None:
        self.page = page
        self.base_url = base_url
        self.problems: list[str] = []
        page.set_default_timeout(_WAIT_MS)
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        page.on("request", lambda request: self._check_origin(request.url))

    async def open(self, path: str) -> None:
        """A page of the console."""
        response = await self.page.goto(f"{self.base_url}/console{path}")
        assert response is not None

    async def check(self, name: str) -> None:
        """Everything that holds for every page, of the one that is open."""
        await self._walk_by_keyboard(name)
        for scheme in ("light", "dark"):
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            await self._check_accessibility(name, scheme)
            await self.keep_screenshot(f"{name}-{scheme}")
        for width, height in (ZOOMED, PHONE):
            await self.page.set_viewport_size({"width": width, "height": height})
            wide = await self.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} wide in a window of {width}"
        await self.keep_screenshot(f"{name}-phone")
        await self.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        assert self.problems == [], name

    async def keep_screenshot(self, name: str) -> None:
        """Writes one, if the environment says where to."""
        folder = os.environ.get(SCREENSHOTS)
        if folder:
            await self.page.screenshot(path=Path(folder) / f"{re.sub(r'[^a-z0-9-]+', '-', name)}.png")

    async def _walk_by_keyboard(self, name: str) -> None:
        """Tab comes to every control, and each is shown while it has the focus."""
        await self.page.evaluate(_LIST_CONTROLS)
        hidden, left = await self.page.evaluate(_NOTE_FOCUS)
        for _ in range(_MOST_TABS):
            if not left:
                return
            await self.page.keyboard.press("Tab")
            hidden, left = await self.page.evaluate(_NOTE_FOCUS)
            assert not hidden, f"{name}: {hidden}"
        pytest.fail(f"{name}: Tab does not come to {left}")

    async def _check_accessibility(self, name: str, scheme: str) -> None:
        results = await Axe().run(self.page)
        findings = [
            f"{finding['id']}: {node['html']}"
            for finding in results.response["violations"]
            for node in finding["nodes"]
        ]
        assert not findings, f"{name}, {scheme}: {findings}"

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.problems.append(f"{kind}: {text}")

    def _check_origin(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self.base_url:
            self.problems.append(f"loaded from elsewhere: {url}")


@asynccontextmanager
async def visiting(browser: Browser, base_url: str) -> AsyncIterator[Visitor]:
    """A window of its own, without cookies."""
    width, height = DESKTOP
    context = await browser.new_context(viewport={"width": width, "height": height})
    yield Visitor(await context.new_page(), base_url)
    await context.close()
