"""Names that are markup stay names, on every page that shows them (WEB-06, WEB-01)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from tests.flows.conftest import Maker
from tests.flows.hostile import CANARY, EMAIL, FILE_NAMES, HOOK, PAYLOADS, SLUG, Hostile
from tests.flows.installation import Installation
from tests.flows.people import open_account, sign_in, wait_for_pixels

NOTE = "<img src onerror=p()>'\"--></script><svg onload=p()>"


class Visitor:
    """Goes to pages and counts what ran, and what the policy had to stop."""

    def __init__(self, context: BrowserContext) -> None:
        self.executed: list[str] = []
        self.stopped: list[str] = []
        self.seen = ""
        context.add_init_script(HOOK)

    def look(self, page: Page) -> str:
        """Count on the page as it stands; return its HTML."""
        ran, stopped = page.evaluate("[window.__executed, window.__stopped]")
        if ran:
            self.executed.append(f"{page.url}: {ran}")
        self.stopped += [f"{page.url}: {one}" for one in stopped]
        html = page.content()
        self.seen += html
        return html

    def visit(self, page: Page, url: str) -> str:
        page.goto(url, wait_until="load")
        return self.look(page)


def test_the_payloads_would_run_if_they_were_markup(new_browser: Maker) -> None:
    """The hook counts: without escaping and without a policy these payloads do run."""
    context = new_browser()
    visitor = Visitor(context)
    page = context.new_page()
    page.goto("data:text/html,<p>nothing</p>")
    page.evaluate(
        "payloads => payloads.forEach(one => document.body.appendChild(document.createElement('div')).innerHTML = one)",
        PAYLOADS,
    )
    page.wait_for_function("window.__executed > 15", timeout=10_000)
    visitor.look(page)
    assert visitor.executed


@pytest.mark.parametrize("policy", ["with the policy", "without it"])
def test_names_that_are_markup_stay_names_WEB_06(
    new_browser: Maker, installation: Installation, hostile: Hostile, tmp_path: Path, policy: str
) -> None:
    """With the policy nothing had to be stopped; without it (the browser ignores it) nothing runs."""
    context = new_browser(bypass_csp=policy == "without it")
    visitor = Visitor(context)
    page = sign_in(context, EMAIL, hostile.seed)
    clinic = f"{installation.base_url}/c/{SLUG}"

    # The worklist, a search for each kind of payload, every study and patient.
    html = visitor.visit(page, f"{clinic}/")
    assert html.count(CANARY) >= hostile.study_count
    studies = sorted(set(re.findall(rf"/c/{SLUG}/studies/([\w-]{{22}})/", html)))
    assert len(studies) == hostile.study_count
    for words in ("<img src onerror=p()>", '"><script>p()</script>', CANARY):
        page.get_by_role("searchbox").fill(words)
        page.get_by_role("searchbox").press("Enter")
        page.wait_for_load_state("networkidle")
        visitor.look(page)
    patients: set[str] = set()
    # Without the policy all of them; with it, what could be stopped was already in the worklist.
    looked_at = studies if policy == "without it" else studies[:3]
    for study in looked_at:
        html = visitor.visit(page, f"{clinic}/studies/{study}/")
        patients |= set(re.findall(rf"/c/{SLUG}/patients/[\w-]{{22}}/", html))
    assert len(patients) == len(looked_at)
    html = visitor.visit(page, f"{clinic}/studies/{studies[0]}/uploads/")
    batches = set(re.findall(rf"/c/{SLUG}/uploads/[\w-]{{22}}/", html))
    for path in sorted(patients)[:3] + sorted(batches)[:1]:
        visitor.visit(page, installation.base_url + path)
    for group in ("stored", "problem", "ignored"):
        visitor.visit(page, f"{installation.base_url}{min(batches)}?show={group}")

    # Files sent by the browser, their list, and documents of a study.
    sent = send(page, f"{clinic}/upload/?study={studies[0]}", tmp_path)
    visitor.look(page)
    visitor.visit(page, sent)
    visitor.visit(page, f"{clinic}/uploads/")
    html = visitor.visit(page, f"{clinic}/studies/{studies[0]}/")
    assert "onerror" in html

    # The share form, what it makes, the sharer's pages, the recipient's.
    visitor.visit(page, f"{clinic}/studies/{studies[0]}/share/")
    page.get_by_text("More options").click()
    page.get_by_label("Note to the recipient").fill(NOTE)
    page.get_by_label("Nothing: whoever has the link").check()
    page.get_by_role("button", name="Make the link").click()
    url = page.locator("#share-url").input_value()
    hostile.secrets.append(url.rpartition("/s/")[2].strip("/"))
    visitor.look(page)
    html = visitor.visit(page, f"{clinic}/links/")
    link = re.findall(rf"/c/{SLUG}/links/[\w-]{{22}}/", html)[0]
    recipient = new_browser(bypass_csp=policy == "without it")
    outside = Visitor(recipient)
    dana = recipient.new_page()
    html = outside.visit(dana, url)
    assert CANARY not in html
    dana.get_by_role("button", name="Open the images").click()
    dana.wait_for_url("**/v/**")
    assert "onerror" in outside.look(dana)
    viewer = re.findall(r"/v/[\w-]{22}/studies/[\w-]{22}/", dana.content())[0]

    # The viewer, for both.
    for who, watcher, path in ((page, visitor, f"/c/{SLUG}/viewer/{studies[0]}/"), (dana, outside, viewer)):
        who.goto(installation.base_url + path)
        wait_for_pixels(who)
        watcher.look(who)

    # What the owner sees of it afterwards.
    for path in ("audit/", "members/", "tokens/", "billing/", "links/"):
        visitor.visit(page, f"{clinic}/{path}")
    visitor.visit(page, installation.base_url + link)
    for path in ("/clinics/", "/account/sessions/", "/account/factors/"):
        visitor.visit(page, installation.base_url + path)

    assert visitor.executed == outside.executed == []
    assert visitor.stopped == outside.stopped == []
    for text in ("<script>p()</script>", "<img src onerror=p()>", "<svg onload=p()>"):
        assert text not in visitor.seen, "a payload stands in a page as markup"


def test_the_admin_shows_names_as_names_WEB_06(
    new_browser: Maker, installation: Installation, hostile: Hostile
) -> None:
    context = new_browser(bypass_csp=True)
    visitor = Visitor(context)
    invitation = installation.manage("create_platform_admin", "pat@hostile.example").strip()
    hostile.secrets.append(invitation.rpartition("/invitation/")[2].strip("/"))
    page, _ = open_account(context, invitation, "Pat")
    lists = set(re.findall(r'href="(/admin/[a-z]+/[a-z]+/)"', visitor.visit(page, f"{installation.base_url}/admin/")))
    assert len(lists) > 8
    for path in sorted(lists):
        html = visitor.visit(page, installation.base_url + path)
        rows = re.findall(rf'href="({path}[^"/]+/change/)', html)
        if rows:
            visitor.visit(page, installation.base_url + rows[0])
    assert visitor.executed == []
    assert "&lt;svg onload=p()&gt;" in visitor.seen, "the clinic's name is shown"
    assert "<svg onload=p()>" not in visitor.seen
    assert CANARY not in visitor.seen, "ADM-01: nothing of a patient"


def send(page: Page, url: str, folder: Path) -> str:
    """Send hostile file names from the upload page and return the address of the page about them."""
    paths = []
    for number, name in enumerate(FILE_NAMES[:12]):
        path = folder / f"{number}{name}.jpg"
        Image.new("L", (8, 8), number).save(path)
        paths.append(path)
    page.goto(url)
    page.locator("[data-part=files]").set_input_files(paths)
    expect(page.locator("[data-part=done]")).to_contain_text("Done", timeout=60_000)
    return page.url


def test_the_logs_hold_no_name_and_no_token_LOG_01_SHARE_12(installation: Installation, hostile: Hostile) -> None:
    logs = installation.logs()
    assert '"route": "sign-in/"' in logs or "sign-in/" in logs
    for secret in (CANARY, EMAIL, "onerror", "p()", hostile.seed, *hostile.secrets):
        assert len(secret) > 2
        assert secret not in logs
