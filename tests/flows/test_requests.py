"""Images from outside in a browser: asked for, sent by a phone, assigned; two versions, two people, and back."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from apps.dicom import phantom
from tests.flows.conftest import PHONE, Maker
from tests.flows.installation import Installation
from tests.flows.people import open_account

SLICES = 4
EMAIL = "alice@asks.example"


def write_study(folder: Path, **values: object) -> Path:
    """A small study in a folder, its attributes by keyword."""
    folder.mkdir(parents=True)
    for number, content in enumerate(phantom.ct_head(SLICES), 1):
        dataset = pydicom.dcmread(io.BytesIO(content))
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / f"slice-{number}.dcm")
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody outside has on a CD."""
    return write_study(tmp_path_factory.mktemp("cd") / "CD", PatientName="Sender^Sina", PatientID="CD-1")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images once more, under the same UIDs, with another name in one of them."""
    folder = write_study(tmp_path_factory.mktemp("again") / "CD", PatientName="Sender^Sina", PatientID="CD-1")
    first = min(folder.iterdir())
    dataset = pydicom.dcmread(first)
    dataset.StudyDescription = "Another version"
    dataset.save_as(first)
    return folder


def ask(page: Page, base_url: str) -> tuple[str, str]:
    """Make an upload request; return its address and PIN."""
    page.goto(f"{base_url}/c/asks/upload-requests/new/")
    page.get_by_label("For whom").fill("Dr. House")
    page.get_by_label("Note to the sender").fill("The head CT, please.")
    page.get_by_role("button", name="Make the link").click()
    return page.locator("#request-url").input_value(), page.locator("#request-pin").input_value()


def send(sender: Page, folder: Path) -> None:
    """Send a folder from the sender's page, until everything is there."""
    sender.locator("[data-part=folder]").set_input_files(folder)
    expect(sender.locator(".upload-row[data-state=stored]")).to_have_count(SLICES, timeout=120_000)


def come(page: Page, url: str, selector: str) -> Locator:
    """Return the first of these on a page, loaded anew until a worker has done what it shows."""
    for _ in range(120):
        page.goto(url)
        if page.locator(selector).count():
            break
        page.wait_for_timeout(500)
    return page.locator(selector).first


def open_request(context: BrowserContext, url: str, pin: str) -> Page:
    """Open the link as its recipient does."""
    sender = context.new_page()
    sender.goto(url)
    expect(sender.get_by_text("House")).to_have_count(0)
    sender.get_by_label("PIN").fill(pin)
    sender.get_by_role("button", name="Go on").click()
    sender.wait_for_url("**/w/**")
    return sender


def test_images_from_outside(
    new_browser: Maker, installation: Installation, theirs: Path, changed: Path, screenshots: Path
) -> None:
    invitation = installation.manage("create_clinic", "asks", "--name", "Asking Practice", "--owner", EMAIL).strip()
    page, _seed = open_account(new_browser(), invitation, "Alice")
    base = f"{installation.base_url}/c/asks"

    # Alice asks; Sina's practice sends from a phone, and sees nothing of the clinic but its name.
    url, pin = ask(page, installation.base_url)
    phone = new_browser(PHONE)
    sender = open_request(phone, url, pin)
    expect(sender.get_by_text("The head CT, please.")).to_be_visible()
    token = url.rstrip("/").rpartition("/")[2]
    assert token not in sender.url
    send(sender, theirs)
    assert sender.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sender.screenshot(path=screenshots / "sent.png")

    # It waits in the inbox, in no list; Alice looks at it and says whose it is.
    page.goto(f"{base}/")
    expect(page.get_by_text("Sender")).to_have_count(0)
    page.get_by_role("link", name="Inbox").first.click()
    page.get_by_role("link", name=re.compile("Sender")).click()
    expect(page.locator(".in-previews img").first).to_be_visible()
    page.get_by_role("button", name="Make this patient and assign").click()
    expect(page.get_by_text("Assigned.")).to_be_visible()
    come(page, f"{base}/", "a:has-text('Sender')").click()
    expect(page.get_by_text(f"{SLICES} images").first).to_be_visible()
    study_url = page.url

    # The same once more: what is there already is not sent again, another version of one image is, and is compared.
    send(sender, changed)
    come(page, f"{base}/inbox/", "td a.in-name").click()
    expect(page.get_by_text("This very study is here already.")).to_be_visible()
    page.get_by_role("button", name="Assign").click()
    expect(page.get_by_text("Assigned.")).to_be_visible()
    come(page, f"{base}/conflicts/", "td a.in-name").click()
    expect(page.get_by_text("Another version")).to_be_visible()
    expect(page.get_by_text("The images are the same")).to_be_visible()
    page.get_by_role("button", name="Replace").click()
    expect(page.get_by_text("Decided.")).to_be_visible()

    # The study is of two people: split, and taken back.
    page.goto(study_url)
    page.get_by_role("link", name="All studies of this patient").click()
    page.get_by_role("link", name="Two people").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_label("Family name").fill("Other")
    page.get_by_label("Patient ID").fill("CD-2")
    page.get_by_role("button", name="Make two patients").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Other")
    page.goto(f"{base}/corrections/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text("Taken back: everything is where it was.")).to_be_visible()
    page.goto(study_url)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sender")

    # Taken back, the link opens nothing more; what was sent stays.
    page.goto(f"{base}/upload-requests/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke").first.click()
    expect(page.get_by_text("Revoked").first).to_be_visible()
    sender.reload()
    expect(sender.get_by_role("heading", name="This link opens nothing")).to_be_visible()
    assert token not in installation.logs()
