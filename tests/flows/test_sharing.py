"""Sharing in a browser, on a desk and on a phone: every wish, the patient's own link, taking it along, receipts."""

from __future__ import annotations

import io
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pydicom
import pytest
from django.conf import settings
from playwright.sync_api import BrowserContext, Page, expect

from apps.dicom import phantom
from tests.flows.conftest import PHONE, WIDE, Maker
from tests.flows.installation import Installation
from tests.flows.people import open_account, sign_in, wait_for_pixels

SLUG, EMAIL = "lending", "lea@lending.example"
SLICES = 6
FRAMES = 500
AXE = Path(settings.BASE_DIR, "node_modules", "axe-core", "axe.min.js")
SCRIPT = Path(settings.BASE_DIR, "static", "receipts", "verify_receipt.py")


# A page may take its time on a machine that does much else.
expect.set_options(timeout=30_000)


class Looker:
    """Looks at pages: a picture of each, and what axe finds serious there.

    The desk is light and the phone dark: what differs by size and what differs by theme is seen once each.
    """

    def __init__(self, folder: Path, size: str) -> None:
        self.folder, self.size = folder, size
        self.theme = "light" if size == str(WIDE["width"]) else "dark"
        self.found: list[str] = []

    def look(self, page: Page, name: str) -> None:
        page.evaluate(AXE.read_text())
        page.evaluate("theme => document.documentElement.setAttribute('data-bs-theme', theme)", self.theme)
        page.wait_for_timeout(200)  # colours fade
        page.screenshot(path=self.folder / f"sharing-{self.size}-{name}.png", full_page=True)
        result = page.evaluate("axe.run({resultTypes: ['violations']})")
        self.found += [
            f"{name}: {one['id']} {one['nodes'][0]['html'][:120]}"
            for one in result["violations"]
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("to-lend")
    for number, content in enumerate(phantom.ct_head(SLICES), 1):
        dataset = pydicom.dcmread(io.BytesIO(content))
        dataset.PatientName, dataset.PatientID = "CANARYFAMILY^Zerlina", "CANARY-4712"
        dataset.save_as(folder / f"{number}.dcm")
    return folder


@pytest.fixture(scope="module")
def seed(installation: Installation, folder: Path, chromium: object) -> str:
    """A clinic with a study; returns its owner's second factor."""
    invitation = installation.manage("create_clinic", SLUG, "--name", "Lending Imaging", "--owner", EMAIL).strip()
    installation.manage("import_dicom", "--clinic", SLUG, str(folder))
    context = chromium.new_context(ignore_https_errors=True, base_url=installation.base_url, locale="en-GB")  # type: ignore[attr-defined]
    _, seed = open_account(context, invitation, "Lea")
    context.close()
    return seed


@pytest.fixture(params=[WIDE, PHONE], ids=["desk", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return dict(request.param)


def study_page(page: Page) -> str:
    page.goto(f"/c/{SLUG}/")
    page.get_by_role("link", name=re.compile("CANARYFAMILY|Zerlina")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("CANARYFAMILY")
    return page.url


def enter(context: BrowserContext, url: str, *, pin: str = "", name: str = "") -> Page:
    page = context.new_page()
    page.goto(url)
    if name:
        page.get_by_label("Your name").fill(name)
        page.get_by_label("What you need the images for").fill("second opinion")
    if pin:
        page.get_by_label("PIN").fill(pin)
    page.get_by_role("button", name="Open the images").click()
    page.wait_for_url("**/v/**")
    return page


def test_the_patients_own_link_from_its_making_to_its_end(
    new_browser: Maker, installation: Installation, seed: str, screenshots: Path, size: dict[str, int]
) -> None:
    looker = Looker(screenshots, str(size["width"]))
    page = sign_in(new_browser(size), EMAIL, seed)

    # A link with most that can be wished.
    study_url = study_page(page)
    looker.look(page, "study")
    page.get_by_role("link", name="Share", exact=True).click()
    looker.look(page, "create")
    page.get_by_label("For whom").fill("Zerlina herself")
    page.get_by_label("Allow downloading").check()
    page.get_by_text("More options").click()
    for wish in ("This is the patient's own link", "Ask who opens it", "Write name and time over the images"):
        page.get_by_label(wish).check()
    page.get_by_label("Note to the recipient").fill("Your head, in slices.")
    looker.look(page, "create-more")
    page.get_by_role("button", name="Make the link").click()
    url, pin = page.locator("#share-url").input_value(), page.locator("#share-pin").input_value()
    expect(page.locator(".vb-print-pin")).to_be_hidden()
    looker.look(page, "created")
    page.emulate_media(media="print")
    page.screenshot(path=screenshots / f"sharing-{size['width']}-card.png", full_page=True)
    expect(page.locator("#share-pin")).to_be_hidden()
    expect(page.locator(".vb-print-card .vb-qr")).to_be_visible()
    page.emulate_media(media="screen")

    # The patient opens it, says who she is, and looks.
    patient = new_browser(size)
    own = patient.new_page()
    own.goto(url)
    looker.look(own, "landing")
    own.close()
    own = enter(patient, url, pin=pin, name="Zerlina")
    looker.look(own, "home")
    home = own.url
    own.get_by_role("link", name=re.compile("^Open")).first.click()
    wait_for_pixels(own)
    with own.expect_download(timeout=120_000) as download:
        own.get_by_role("button", name="Save picture").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    own.screenshot(path=screenshots / f"sharing-{size['width']}-watermark.png")

    # She takes it along: at once, and prepared.
    own.goto(home)
    own.get_by_role("button", name=re.compile("Download.*everything")).click()
    looker.look(own, "menu")
    with own.expect_download(timeout=120_000) as download:
        own.locator(".dropdown-menu.show").get_by_role("link", name="As a ZIP archive").click()
    names = zipfile.ZipFile(download.value.path()).namelist()
    assert len([name for name in names if name.startswith("DICOM/")]) == SLICES
    own.get_by_role("button", name=re.compile("Download.*everything")).click()
    own.locator(".dropdown-menu.show").get_by_role("button", name="Prepare the disc for later").click()
    expect(own.get_by_role("link", name="Download")).to_be_visible(timeout=60_000)
    looker.look(own, "prepared")
    with own.expect_download(timeout=120_000) as download:
        own.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes()[0x8001:0x8006] == b"CD001"

    # She passes a link on, sees it used, pauses it.
    own.goto(home)
    own.get_by_role("link", name="Pass a link on").click()
    own.get_by_label("For whom").fill("Dr. House")
    looker.look(own, "pass-on")
    own.get_by_role("button", name="Make the link").click()
    passed, passed_pin = own.locator("#share-url").input_value(), own.locator("#share-pin").input_value()
    looker.look(own, "passed-on")
    house = enter(new_browser(size), passed, pin=passed_pin, name="Gregory House")
    wait_for_pixels(house)
    viewer = house.url
    own.goto(home)
    own.get_by_role("link", name="Who has seen them").click()
    expect(own.get_by_text("Gregory House")).to_be_visible()
    looker.look(own, "visits")
    own.get_by_role("button", name="Pause").click()
    expect(own.get_by_text("Paused", exact=True)).to_be_visible()
    assert house.goto(viewer).status == 404  # type: ignore[union-attr]
    looker.look(house, "nothing")
    own.get_by_role("button", name="Open it again").click()
    expect(own.get_by_role("button", name="Pause")).to_be_visible()
    assert house.goto(viewer).status == 200  # type: ignore[union-attr]

    # The clinic sees all of it, takes a receipt, gives more time.
    page.goto(f"/c/{SLUG}/links/")
    looker.look(page, "links")
    page.get_by_role("link", name=re.compile("CANARYFAMILY|Zerlina")).nth(1).click()  # below the one passed on
    expect(page.get_by_text("Gregory House")).to_be_visible()
    looker.look(page, "link")
    page.get_by_label("Valid from now for").select_option("30")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_text("ends at another time")).to_be_visible()
    with page.expect_download(timeout=120_000) as download:
        page.get_by_role("link", name="Receipt").first.click()
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, download.value.path()], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("VALID"), done.stderr
    page.goto("/receipts/")
    looker.look(page, "receipts")
    assert re.search(r"by the key ([0-9a-f ]+) of", done.stdout)[1] in page.content()  # type: ignore[index]

    # The end of hers is the end of what came from it; the clinic takes all back at once.
    page.goto(f"{study_url}share/")
    page.get_by_role("link", name="Links to this study").click()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke all of these").click()
    expect(page.get_by_text("Revoked").first).to_be_visible()
    for gone in (own.goto(home), house.goto(viewer)):
        assert gone
        assert gone.status == 404
    page.goto(f"/c/{SLUG}/exports/")
    looker.look(page, "exports")
    assert looker.found == []


def test_no_frame_begun_a_second_after_the_revocation_comes_SHARE_03(
    new_browser: Maker, installation: Installation, seed: str
) -> None:
    """500 frames over 6 connections, while a person presses the button; no log holds the token then (SHARE-12)."""
    page = sign_in(new_browser(), EMAIL, seed)
    page.goto(f"{study_page(page)}share/")
    page.get_by_label("Nothing: whoever has the link").check()
    page.get_by_role("button", name="Make the link").click()
    url = page.locator("#share-url").input_value()
    context = new_browser()
    dana = enter(context, url)
    found = dana.request.get(f"{dana.url.partition('/studies/')[0]}/dicomweb/instances").json()
    paths = [
        f"/studies/{one['0020000D']['Value'][0]}/series/{one['0020000E']['Value'][0]}"
        f"/instances/{one['00080018']['Value'][0]}/frames/1"
        for one in found
    ]
    root = f"{dana.url.partition('/studies/')[0]}/dicomweb"
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies())
    answers: list[tuple[float, int]] = []
    numbers = iter(range(FRAMES))
    lock, trust = threading.Lock(), ssl._create_unverified_context()

    def load() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            begun = time.monotonic()
            asked = urllib.request.Request(root + paths[number % len(paths)], headers={"Cookie": cookie})
            try:
                with urllib.request.urlopen(asked, context=trust, timeout=30) as answer:
                    answer.read()
                    answers.append((begun, answer.status))
            except urllib.error.HTTPError as error:
                answers.append((begun, error.code))

    page.goto(f"/c/{SLUG}/links/")
    page.get_by_role("link", name=re.compile("CANARYFAMILY|Zerlina")).first.click()
    page.once("dialog", lambda dialog: dialog.accept())
    workers = [threading.Thread(target=load) for _ in range(6)]
    for worker in workers:
        worker.start()
    while len(answers) < FRAMES // 10:
        page.wait_for_timeout(20)
    page.get_by_role("button", name="Revoke this link").click()
    expect(page.get_by_text("The link is revoked")).to_be_visible()
    revoked = time.monotonic()
    for worker in workers:
        worker.join()
    assert len(answers) == FRAMES
    assert {status for _, status in answers} == {200, 404}
    late = [begun - revoked for begun, status in answers if status == 200 and begun > revoked]
    assert late == [], "not a single one after the page said so, let alone a second later"
    assert url.rstrip("/").rpartition("/")[2] not in installation.logs()
