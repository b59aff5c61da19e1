"""How long it takes from opening a share link until its first image is on the screen, on a slow line.

`python -m tests.flows.first_image https://host/s/TOKEN` measures any installation: first with empty caches, then with
the viewer's program in the browser's cache, as somebody has it who opened a link before. Chromium emulates the line.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, sync_playwright

MEGABITS_A_SECOND = 20
LATENCY_MILLISECONDS = 40
DRAWN = "document.documentElement.dataset.firstImage"


@dataclass(frozen=True)
class Opening:
    """Milliseconds from the click that opens the link: to the first image, and until the viewer takes input."""

    first_image: float
    ready: float
    bytes_at_first_image: int

    def __str__(self) -> str:
        return (
            f"first image {self.first_image:5.0f} ms, ready for input {self.ready:5.0f} ms,"
            f" {self.bytes_at_first_image / 1024:5.0f} KiB until the first image"
        )


def slow_down(page: Page, megabits: float = MEGABITS_A_SECOND, latency: float = LATENCY_MILLISECONDS) -> None:
    """Put the page on a slower line."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    speed = megabits * 1_000_000 / 8
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": latency, "downloadThroughput": speed, "uploadThroughput": speed},
    )


def open_link(page: Page, url: str) -> Opening:
    """Open a link without a PIN and wait for its first image."""
    page.goto(url)
    page.evaluate("localStorage.setItem('opened', Date.now() + 200); setTimeout(() => document.forms[0].submit(), 200)")
    page.wait_for_url("**/v/**")
    page.wait_for_function(f"() => {DRAWN}", timeout=60_000)
    times: dict[str, float] = page.evaluate(
        f"""() => {{
            const drawn = Number({DRAWN});
            const entries = ["resource", "navigation"].flatMap((kind) => performance.getEntriesByType(kind));
            const sizes = entries.filter((entry) => entry.responseEnd <= drawn).map((entry) => entry.transferSize);
            return {{
                from: Number(localStorage.getItem("opened")) - performance.timeOrigin,
                drawn,
                bytes: sizes.reduce((sum, size) => sum + size, 0),
            }};
        }}"""
    )
    page.wait_for_selector("html.is-ready [data-shown=yes]", timeout=60_000)
    ready = page.evaluate("performance.now()")
    return Opening(times["drawn"] - times["from"], ready - times["from"], int(times["bytes"]))


def measure(browser: Browser, url: str, **options: object) -> tuple[Opening, Opening]:
    """Return the first opening, with empty caches, and the second, with the program cached."""
    context = browser.new_context(ignore_https_errors=True, **options)  # type: ignore[arg-type]
    openings = []
    for _ in range(2):
        page = context.new_page()
        slow_down(page)
        openings.append(open_link(page, url))
        page.close()
        context.clear_cookies()
    context.close()
    return openings[0], openings[1]


def main() -> None:
    """Measure the link given on the command line three times."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        for _ in range(3):
            for name, opening in zip(("cold", "cached"), measure(browser, sys.argv[1]), strict=True):
                sys.stdout.write(f"{name:6} {opening}\n")
        browser.close()


if __name__ == "__main__":
    main()
