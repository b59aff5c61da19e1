"""The main job in a browser: sign in, upload, view, share, revoke, audit; then nothing of it lies in the clear."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright.sync_api import BrowserContext, Page, Response, expect

from apps.dicom import phantom
from tests.flows.conftest import PHONE, Maker
from tests.flows.installation import Installation
from tests.flows.people import open_account, sign_in, wait_for_pixels
from tests.flows.tap import heard

PATIENT = "CANARYFAMILY^Zerlina"
SLICES = 12
EMAIL = "alice@story.example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a patient with a name found nowhere else, in a folder."""
    folder = tmp_path_factory.mktemp("to-upload") / "CT"
    folder.mkdir()
    for number, content in enumerate(phantom.ct_head(SLICES), 1):
        dataset = pydicom.dcmread(io.BytesIO(content))
        dataset.PatientName = PATIENT
        dataset.PatientID = "CANARY-4711"
        dataset.save_as(folder / f"slice-{number:03}.dcm")
    return folder


@pytest.fixture(scope="module")
def pixel_run(folder: Path) -> bytes:
    """A run of pixels in the middle of the head, varied enough to occur nowhere else."""
    dataset = pydicom.dcmread(sorted(folder.iterdir())[SLICES // 2])
    row = dataset.pixel_array[dataset.Rows // 2, 100:140]
    assert len(np.unique(row)) > 8
    return row.tobytes()


class Watch:
    """Listens to a browser: violations of the content policy, and hosts that are not ours."""

    def __init__(self, context: BrowserContext, base_url: str) -> None:
        self.violations: list[str] = []
        self.foreign: list[str] = []
        self.urls: list[str] = []
        self.base_url = base_url
        context.on("response", self._response)
        context.on("console", lambda message: self._console(message.text))

    def _response(self, response: Response) -> None:
        self.urls.append(response.url)
        if not response.url.startswith((self.base_url, "data:", "blob:")):
            self.foreign.append(response.url)

    def _console(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.violations.append(text)


@pytest.fixture
def watched(new_browser: Maker, installation: Installation) -> Iterator[Callable[..., tuple[BrowserContext, Watch]]]:
    """Make browsers that are listened to, and complain about what was heard at the end (WEB-01, SHARE-11)."""
    watches: list[Watch] = []

    def make(*args: object, **options: object) -> tuple[BrowserContext, Watch]:
        context = new_browser(*args, **options)
        watches.append(Watch(context, installation.base_url))
        return context, watches[-1]

    yield make
    assert [text for watch in watches for text in watch.violations] == []
    assert [url for watch in watches for url in watch.foreign] == []


Listener = Callable[..., tuple[BrowserContext, Watch]]


def make_clinic(installation: Installation, slug: str = "story") -> str:
    return installation.manage("create_clinic", slug, "--name", "Story Imaging", "--owner", EMAIL).strip()


def upload_folder(page: Page, folder: Path) -> None:
    page.get_by_role("link", name="Upload").first.click()
    page.locator("[data-part=folder]").set_input_files(folder)
    expect(page.locator("[data-part=overall]")).to_be_visible()
    expect(page.locator("[data-part=done]")).to_contain_text(re.compile(f"{SLICES}"), timeout=120_000)
    expect(page.locator(".upload-row").first).to_contain_text("Stored", timeout=120_000)
    expect(page.locator(".upload-row")).to_have_count(SLICES)


def make_link(page: Page) -> tuple[str, str]:
    """Make a link with a PIN from the study page; return its address and PIN."""
    page.get_by_role("link", name="Share").click()
    page.get_by_label("A PIN of six digits").check()
    page.get_by_role("button", name="Make the link").click()
    return page.locator("#share-url").input_value(), page.locator("#share-pin").input_value()


def test_the_story(
    watched: Listener, installation: Installation, folder: Path, pixel_run: bytes, screenshots: Path
) -> None:
    context, _ = watched()
    page, seed = open_account(context, make_clinic(installation), "Alice")
    page.context.close()

    # Sign in with both factors, upload a folder, watch it become a study.
    context, _ = watched()
    page = sign_in(context, EMAIL, seed)
    upload_folder(page, folder)
    page.screenshot(path=screenshots / "uploaded.png")
    page.get_by_role("link", name="Open study").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("CANARYFAMILY")
    study_url = page.url

    # The viewer shows pixels.
    page.get_by_role("link", name="Open in viewer").click()
    wait_for_pixels(page)
    page.screenshot(path=screenshots / "viewer.png")

    # A link with a PIN, opened by Dana on a phone.
    page.goto(study_url)
    url, pin = make_link(page)
    phone, listener = watched(PHONE)
    dana = phone.new_page()
    dana.goto(url)
    expect(dana.get_by_text("CANARYFAMILY")).to_have_count(0)
    dana.get_by_label("PIN").fill(pin)
    dana.get_by_role("button", name="Open the images").click()
    dana.wait_for_url("**/v/**")
    if dana.get_by_role("link", name="Open", exact=False).count():
        dana.get_by_role("link", name="Open", exact=False).first.click()
    wait_for_pixels(dana)
    dana.screenshot(path=screenshots / "phone.png")
    token = url.rstrip("/").rpartition("/")[2]
    after_opening = listener.urls[next(i for i, seen in enumerate(listener.urls) if "/v/" in seen) :]
    assert not [seen for seen in after_opening if token in seen], "SHARE-10: the token left the URL"

    # Alice takes the link back; Dana's next request is refused, frames included (SHARE-03).
    frame = next(seen for seen in listener.urls if "/frames/" in seen)
    assert dana.request.get(frame).status == 200
    page.goto(f"{installation.base_url}/c/story/links/")
    page.get_by_role("link", name=re.compile("CANARYFAMILY|Zerlina")).first.click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke this link").click()
    expect(page.get_by_text("Revoked").first).to_be_visible()
    assert dana.request.get(frame).status == 404
    dana.reload()
    expect(dana.get_by_role("heading", name="This link opens nothing")).to_be_visible()
    dana.goto(url)
    expect(dana.get_by_text("CANARYFAMILY")).to_have_count(0)

    # Both views are in the trail.
    page.goto(f"{installation.base_url}/c/story/audit/")
    opened = page.locator(".au-event", has_text="Study opened in the viewer")
    expect(opened.filter(has_text=EMAIL).first).to_be_visible()
    expect(opened.filter(has_text="Share link").first).to_be_visible()
    expect(page.locator(".au-event", has_text="Link refused").first).to_be_visible()
    page.screenshot(path=screenshots / "audit.png")
    assert installation.manage("verify_audit")

    assert_nothing_lies_in_the_clear(installation, pixel_run, token)
    # A tap that hears nothing would prove nothing (conftest.py).
    assert sum(answer["has_shown"] for answer in heard(installation.data_dir)) > 5


def assert_nothing_lies_in_the_clear(installation: Installation, pixel_run: bytes, token: str) -> None:
    """ENC-10, LOG-01, SHARE-12: no name, no pixels, no token in blobs, queue, broker, logs or temporary files."""
    family = PATIENT.partition("^")[0]
    canaries = [family.encode(), family.encode("utf-16-le"), family.encode().hex().encode(), pixel_run, token.encode()]
    searched = 0
    for place in installation.places_of_bytes():
        for path in place.rglob("*"):
            if path.is_file() and "sqlite3" not in path.name:
                content = path.read_bytes()
                searched += 1
                for canary in canaries:
                    assert canary not in content, f"{path} holds {canary[:20]!r}"
    assert searched > 3
