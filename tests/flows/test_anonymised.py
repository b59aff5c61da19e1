"""An anonymised link is refused, a person looks at the image that held it back, and then it opens, naming nobody."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, Response, expect

from tests.deidentification.conftest import SECONDARY_CAPTURE, STUDY_UID, image
from tests.flows.conftest import Maker
from tests.flows.installation import Installation
from tests.flows.people import open_account, wait_for_pixels

SLUG, EMAIL = "anonymous", "olga@anonymous.example"
# The name, the number and the UID of the original, as they stand in the file.
CANARIES = (b"CANARY", STUDY_UID.encode(), b"19610214")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ultrasound image that names the patient, and a screen copied into a secondary capture."""
    folder = tmp_path_factory.mktemp("doubtful")
    (folder / "1.dcm").write_bytes(image(1, "CANARYFAMILY Zerlina", "ID CANARY-4711"))
    capture = image(2, "CANARYFAMILY Zerlina", "Born 14.02.1961", sop_class=SECONDARY_CAPTURE)
    (folder / "2.dcm").write_bytes(capture)
    return folder


class Tap:
    """Listens to every byte that a recipient is sent."""

    def __init__(self, page: Page) -> None:
        self.heard: list[tuple[str, bytes]] = []
        page.context.on("response", self._response)

    def _response(self, response: Response) -> None:
        if "/v/" not in response.url:
            return
        try:
            self.heard.append((response.url, response.url.encode() + response.body()))
        except Error:
            # A redirect, or one that the page did not wait for, has no body.
            self.heard.append((response.url, response.url.encode()))

    def leaks(self) -> list[str]:
        return [url for url, body in self.heard if any(canary in body.upper() for canary in CANARIES)]


def test_refused_reviewed_approved_opened(
    new_browser: Maker, installation: Installation, folder: Path, screenshots: Path
) -> None:
    invitation = installation.manage("create_clinic", SLUG, "--name", "Anonymous Imaging", "--owner", EMAIL).strip()
    installation.manage("import_dicom", "--clinic", SLUG, str(folder))
    page, _ = open_account(new_browser(), invitation, "Olga")
    page.goto(f"/c/{SLUG}/")
    page.get_by_role("link", name=re.compile("CANARYFAMILY|Zerlina")).first.click()
    study_url = page.url

    # A link to an anonymised copy; nobody has looked at the secondary capture yet, so that it opens nothing.
    page.get_by_role("link", name="Share").first.click()
    page.get_by_label("Anonymise").check()
    page.get_by_label("No second").or_(page.get_by_label("Nothing")).first.check()
    page.get_by_role("button", name="Make the link").click()
    url = page.locator("#share-url").input_value()
    dana = new_browser().new_page()
    tap = Tap(dana)
    dana.goto(url)
    dana.get_by_role("button", name="Open the images").click()
    expect(dana.get_by_role("heading", name="Not ready yet")).to_be_visible()
    home = dana.url

    # A second one is refused with the reason, and leads to the queue.
    review = page.get_by_role("link", name=re.compile("^Look"))
    page.goto(f"/c/{SLUG}/reviews/")
    for _ in range(60):
        if review.count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    page.goto(f"{study_url}copies/")
    page.get_by_role("button", name="Prepare a download").click()
    expect(page.get_by_role("alert")).to_contain_text("has to look at them")
    page.get_by_role("link", name="Look at them").first.click()
    page.screenshot(path=screenshots / "reviews.png")
    review.first.click()

    # The boxes that were proposed; one more is drawn, moved with the keys, and removed again.
    boxes = page.locator(".de-box")
    expect(boxes.first).to_be_visible()
    proposed = boxes.count()
    area = page.locator("#boxes").bounding_box()
    assert area
    page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] * 0.8)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.8, area["y"] + area["height"] * 0.9)
    page.mouse.up()
    expect(boxes).to_have_count(proposed + 1)
    before = boxes.last.get_attribute("x")
    page.keyboard.press("ArrowRight")
    assert boxes.last.get_attribute("x") != before
    page.keyboard.press("Delete")
    expect(boxes).to_have_count(proposed)
    page.get_by_role("button", name="Show cleaned").click()
    page.screenshot(path=screenshots / "review.png")
    page.get_by_role("button", name="Clean and release").click()
    expect(page.get_by_text("Nothing waits.")).to_be_visible()

    # Now it opens, and nothing that comes names anybody.
    for _ in range(60):
        dana.goto(home)
        if not dana.get_by_role("heading", name="Not ready yet").count():
            break
        dana.wait_for_timeout(1000)
    if dana.get_by_role("link", name="Open", exact=False).count():
        dana.get_by_role("link", name="Open", exact=False).first.click()
    wait_for_pixels(dana)
    dana.screenshot(path=screenshots / "anonymised.png")
    assert any("/dicomweb/" in heard for heard, _ in tap.heard)
    assert tap.leaks() == []

    # The proof: what was done to which element, and nothing of what stood there.
    page.goto(f"{study_url}copies/")
    page.locator(".list-group a").first.click()
    expect(page.get_by_role("heading", name="Report of an anonymisation")).to_be_visible()
    assert "CANARY" not in page.locator("main").inner_text().upper()
    page.screenshot(path=screenshots / "report.png", full_page=True)
