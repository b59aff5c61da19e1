"""What a person does in a browser to get in."""

from __future__ import annotations

import time
from base64 import b32decode

from django_otp.oath import TOTP
from playwright.sync_api import BrowserContext, Page, expect

from tests.conftest import PASSWORD


def code_of(seed: str) -> str:
    """The six digits that an authenticator shows for this Base32 seed, not used before.

    A code is accepted once: the second one within half a minute is that of the next step, which is accepted too.
    """
    totp = TOTP(b32decode(seed.replace(" ", "").upper()))
    totp.time = time.time()
    if totp.t() <= _used.get(seed, -1):
        totp.drift = _used[seed] - totp.t() + 1
    _used[seed] = totp.t()
    return f"{totp.token():06}"


_used: dict[str, int] = {}


def open_account(context: BrowserContext, invitation_url: str, name: str) -> tuple[Page, str]:
    """Accept an invitation, set up the second factor, and return the signed-in page and the seed."""
    page = context.new_page()
    page.goto(invitation_url)
    page.get_by_label("Your name").fill(name)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Open the account").click()
    page.get_by_text("Cannot scan? Type the key").click()
    seed = page.locator("#manual-key").inner_text()
    page.get_by_label("Name of this device").fill("Phone")
    page.get_by_label("Code").fill(code_of(seed))
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Keep these recovery codes")).to_be_visible()
    page.get_by_role("link", name="I have kept them").click()
    return page, seed


def sign_in(context: BrowserContext, email: str, seed: str) -> Page:
    """Sign in with both factors and return the page."""
    page = context.new_page()
    page.goto("/sign-in/")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Code").fill(code_of(seed))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/c/**")
    return page


def shows_pixels(page: Page) -> bool:
    """Whether a canvas on the page holds an image: many different values, not one flat colour."""
    return bool(
        page.evaluate(
            """() => [...document.querySelectorAll('canvas')].some(canvas => {
                if (canvas.width < 50 || canvas.height < 50) return false;
                const copy = document.createElement('canvas');
                copy.width = copy.height = 64;
                const context = copy.getContext('2d');
                context.drawImage(canvas, 0, 0, 64, 64);
                const data = context.getImageData(0, 0, 64, 64).data, values = new Set();
                for (let i = 0; i < data.length; i += 4) values.add(data[i]);
                return values.size > 12;
            })"""
        )
    )


def wait_for_pixels(page: Page, seconds: float = 90) -> None:
    """Return when the viewer shows an image; fail otherwise."""
    end = time.monotonic() + seconds
    while not shows_pixels(page):
        assert time.monotonic() < end, f"no pixels at {page.url}"
        page.wait_for_timeout(250)
