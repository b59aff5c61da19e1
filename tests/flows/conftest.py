"""One whole installation for all flows of a test worker, and a Chromium to walk through it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Playwright, sync_playwright

from tests.flows.hostile import hostile
from tests.flows.installation import Installation
from tests.flows.tap import heard
from tests.servers import ServerMissingError

__all__ = ["hostile"]

CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
Maker = Callable[..., BrowserContext]
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


# On servers these flows would show the same pages over the same doors, which the rooms' own tests walk on both stacks.
ONE_STACK = ["anonymised", "headers", "hostile_names", "quick_viewer", "requests", "sharing", "upload"]
# What `make test` walks; the others are part of `make test-long`.
SHORT = {"test_story", "test_tap"}
collect_ignore = [f"test_{name}.py" for name in ONE_STACK] if os.environ["TEST_STACK"] == "servers" else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the flows, for they take the longest."""
    items.sort(key=lambda item: "tests/flows" not in str(item.path))
    for item in items:
        if "tests/flows" in str(item.path):
            item.add_marker(pytest.mark.timeout(900))
            if item.path.stem not in SHORT:
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="package")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Viewbox, running, one for each test worker; in the end, what was shown by it was on record before (AUD-01)."""
    running = Installation(tmp_path_factory.mktemp("installation"))
    running.start()
    yield running
    running.stop()
    assert [answer for answer in heard(running.data_dir) if answer["has_shown"] and not answer["is_recorded"]] == []


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    program = shutil.which("chromium")
    if not program:
        raise ServerMissingError("chromium is not installed: install the package chromium (make test does, as root).")
    browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
    yield browser
    browser.close()


@pytest.fixture
def new_browser(chromium: Browser, installation: Installation, screenshots: Path) -> Iterator[Maker]:
    """Make fresh browsers: no cookies, no cache, a given size; the installation's own certificate is accepted."""
    contexts: list[BrowserContext] = []

    def make(viewport: dict[str, int] = WIDE, **options: object) -> BrowserContext:
        context = chromium.new_context(
            viewport=viewport, ignore_https_errors=True, base_url=installation.base_url, locale="en-GB", **options
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        for page in context.pages:
            # What every page looked like at the end: the first thing to look at when a flow fails.
            page.screenshot(path=screenshots / f"{len(list(screenshots.iterdir())):02}-last.png")
        context.close()


@pytest.fixture(scope="package")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where flows leave their pictures."""
    return tmp_path_factory.mktemp("screenshots")
