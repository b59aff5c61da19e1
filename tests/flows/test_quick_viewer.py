"""The quick viewer in a browser: on a phone behind a link, and on a desk with the keyboard, priors and two panes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import BrowserContext, Page, expect
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from apps.dicom import phantom
from tests.flows.accessibility import faults_in_both_schemes, faults_of
from tests.flows.conftest import PHONE, Maker
from tests.flows.first_image import open_link, slow_down
from tests.flows.installation import Installation
from tests.flows.people import open_account, wait_for_pixels

SLUG = "quick"
EMAIL = "olga@quick.example"
SLICES = 8
# Makes two links to the newer study, one of them with the earlier studies, and says where everything is.
LINKS = f"""
import json
from apps.access.services import Principal
from apps.accounts.models import User
from apps.accounts.roles import CAPABILITIES, Role
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.sharing.services import share
from apps.studies.models import Study
clinic, user = Clinic.objects.get(slug="{SLUG}"), User.objects.get(email="{EMAIL}")
with clinic_scope(clinic):
    principal = Principal("member", clinic, CAPABILITIES[Role.OWNER], Context("user", user.public_id), user)
    study = Study.objects.get(study_description="Head today")
    links = [share(principal, [study], has_pin=False, may_see_priors=sees).token for sees in (False, True)]
    print(json.dumps([study.public_id, *links]))
"""


@dataclass
class Clinic:
    """What the flows walk through."""

    context: BrowserContext
    study: str
    link: str
    link_with_priors: str


def files() -> Iterator[pydicom.Dataset]:
    """A head of today with a report and a document, the same head of long ago, all of one patient."""
    frame_of_reference = generate_uid()
    for day, description in (("20260110", "Head today"), ("20200110", "Head then")):
        for content in phantom.ct_head(SLICES):
            dataset = pydicom.dcmread(io.BytesIO(content))
            dataset.StudyDate, dataset.StudyDescription = day, description
            # Two visits, one frame of reference, so that linked scrolling goes by position.
            dataset.FrameOfReferenceUID = frame_of_reference
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(dataset, keyword, uid_of(f"{day}{getattr(dataset, keyword)}"))
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            if day == "20200110":
                dataset.InstanceNumber = SLICES + 1 - int(dataset.InstanceNumber)
            yield dataset
        if description == "Head today":
            report = pydicom.dcmread(get_testdata_file("test-SR.dcm", download=False))
            for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyDescription"):
                setattr(report, keyword, getattr(dataset, keyword))
            report.PatientBirthDate, report.PatientSex = dataset.PatientBirthDate, dataset.PatientSex
            report.SeriesNumber = 900
            yield report


def uid_of(text: str) -> str:
    """The same UID for the same text."""
    return str(generate_uid(entropy_srcs=[text]))


@pytest.fixture(scope="module")
def clinic(installation: Installation, chromium: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("quick")
    for number, dataset in enumerate(files()):
        dataset.save_as(folder / f"{number:03}.dcm")
    invitation = installation.manage("create_clinic", SLUG, "--name", "Quick Imaging", "--owner", EMAIL).strip()
    installation.manage("import_dicom", "--clinic", SLUG, str(folder))
    context = chromium.new_context(  # type: ignore[attr-defined]
        viewport={"width": 1440, "height": 900}, ignore_https_errors=True, base_url=installation.base_url
    )
    open_account(context, invitation, "Olga")
    study, link, link_with_priors = json.loads(installation.manage("shell", "-v", "0", "-c", LINKS))
    yield Clinic(context, study, link, link_with_priors)
    context.close()


class Listener:
    """Hears violations of the content policy, faults of scripts, and hosts that are not ours (WEB-01, SHARE-11)."""

    def __init__(self, page: Page, base_url: str) -> None:
        self.heard: list[str] = []
        page.on("console", lambda message: self.hear("Content Security Policy" in message.text, message.text))
        page.on("pageerror", lambda error: self.hear(True, str(error)))
        page.on("request", lambda asked: self.hear(not asked.url.startswith((base_url, "blob:", "data:")), asked.url))

    def hear(self, is_fault: bool, text: str) -> None:
        if is_fault:
            self.heard.append(text)


def text_of(page: Page, part: str, pane: int = 0) -> str:
    return page.locator(f"[data-pane] [data-part={part}]").nth(pane).inner_text()


def wait_for(page: Page, part: str, wanted: str | re.Pattern[str], pane: int = 0) -> None:
    expect(page.locator(f"[data-pane] [data-part={part}]").nth(pane)).to_have_text(wanted)


def test_a_phone_shows_the_first_image_before_the_program_is_there(
    clinic: Clinic, new_browser: Maker, installation: Installation, screenshots: Path
) -> None:
    context = new_browser(PHONE, has_touch=True)
    page = context.new_page()
    listener = Listener(page, installation.base_url)
    slow_down(page)
    opening = open_link(page, f"{installation.base_url}/s/{clinic.link}")
    assert opening.first_image < opening.ready
    assert page.locator("[data-first]").get_attribute("width") == "512"
    wait_for_pixels(page)
    # No earlier study beside it: the link's maker did not say so.
    expect(page.locator("[data-series]")).to_have_count(2)
    expect(page.get_by_text("Head then")).to_have_count(0)
    slider = page.get_by_role("slider", name="Picture of the series")
    slider.press("Home")
    wait_for(page, "count", re.compile(rf"^(1|{SLICES}) / {SLICES}$"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    small = page.evaluate(
        "[...document.querySelectorAll('button, a[href], select')].filter(e => e.offsetParent"
        " && (e.getBoundingClientRect().height < 24 || e.getBoundingClientRect().width < 24)).map(e => e.outerHTML)"
    )
    assert small == [], "WCAG 2.5.8: targets of 24 pixels"
    assert faults_of(page) == []
    page.screenshot(path=screenshots / "quick-phone.png")
    assert listener.heard == []


def test_priors_where_the_links_maker_said_so_SHARE_06(clinic: Clinic, new_browser: Maker) -> None:
    page = new_browser(PHONE).new_page()
    page.goto(f"/s/{clinic.link_with_priors}")
    page.get_by_role("button", name="Open the images").click()
    page.wait_for_selector("html.is-ready [data-shown=yes]")
    page.get_by_text("Head then").click()
    page.locator("details [data-series]").click()
    wait_for(page, "study", re.compile("Head then"))
    expect(page.locator("details [data-series]")).to_have_attribute("aria-current", "true")


@pytest.fixture
def desk(clinic: Clinic, installation: Installation) -> Iterator[Page]:
    page = clinic.context.new_page()
    listener = Listener(page, installation.base_url)
    page.goto(f"/c/{SLUG}/viewer/{clinic.study}/")
    page.wait_for_selector("html.is-ready [data-shown=yes]")
    yield page
    page.close()
    assert listener.heard == []


def test_keys_move_window_turn_and_measure(desk: Page, screenshots: Path) -> None:
    middle = SLICES // 2 + 1
    wait_for(desk, "count", f"{middle} / {SLICES}")
    for key, at in (("ArrowDown", middle + 1), ("Home", 1), ("End", SLICES), ("ArrowUp", SLICES - 1)):
        desk.keyboard.press(key)
        wait_for(desk, "count", f"{at} / {SLICES}")
    # 3 is the brain window of the presets of CT; 0 is back to what the file says.
    as_stored = text_of(desk, "window")
    desk.keyboard.press("3")
    wait_for(desk, "window", re.compile("C 40 W 80"))
    edges = [text_of(desk, f"edge-{edge}") for edge in ("top", "right", "bottom", "left")]
    assert edges == ["A", "L", "P", "R"]
    desk.keyboard.press("r")
    wait_for(desk, "edge-top", "R")
    desk.keyboard.press("i")
    desk.keyboard.press("+")
    wait_for(desk, "window", re.compile("Zoom 125 %"))
    desk.keyboard.press("0")
    wait_for(desk, "window", as_stored)
    wait_for(desk, "edge-top", "A")
    desk.keyboard.press("l")
    expect(desk.get_by_role("button", name="Length")).to_have_attribute("aria-pressed", "true")
    box = desk.locator("[data-part=view]").first.bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    desk.mouse.move(x - 90, y)
    desk.mouse.down()
    desk.mouse.move(x + 60, y + 40, steps=5)
    desk.mouse.up()
    expect(desk.locator("[data-part=view] svg").get_by_text(re.compile(r"\d mm$")).first).to_be_visible()
    desk.screenshot(path=screenshots / "quick-measured.png")
    desk.keyboard.press("Delete")
    expect(desk.locator("[data-part=view] svg").get_by_text(re.compile(r"\d mm$"))).to_have_count(0)
    desk.keyboard.press("o")
    expect(desk.locator("[data-part=patient]").first).to_be_hidden()
    desk.keyboard.press("o")
    desk.keyboard.press("?")
    expect(desk.get_by_role("dialog")).to_be_visible()
    assert faults_of(desk) == []
    desk.get_by_label("Single keys are on").uncheck()
    desk.keyboard.press("Escape")
    desk.keyboard.press("i")
    desk.keyboard.press("o")
    expect(desk.locator("[data-part=patient]").first).to_be_visible()
    desk.evaluate("localStorage.removeItem('viewbox-viewer-keys')")


def test_two_series_side_by_side_scroll_to_the_same_place(desk: Page, screenshots: Path) -> None:
    desk.get_by_role("button", name="Compare").click()
    # Beside it comes the like series of the earlier study, whose images are numbered the other way round.
    wait_for(desk, "study", re.compile("Head then"), pane=1)
    desk.locator("[data-part=view]").first.click()
    desk.keyboard.press("Home")
    wait_for(desk, "count", f"1 / {SLICES}")
    wait_for(desk, "count", f"{SLICES} / {SLICES}", pane=1)
    desk.get_by_role("button", name="Linked").click()
    desk.keyboard.press("End")
    wait_for(desk, "count", f"{SLICES} / {SLICES}")
    wait_for(desk, "count", f"{SLICES} / {SLICES}", pane=1)
    desk.screenshot(path=screenshots / "quick-compared.png")
    assert faults_in_both_schemes(desk) == []


def test_cine_plays_and_reports_are_read(desk: Page, screenshots: Path) -> None:
    desk.keyboard.press("Home")
    wait_for(desk, "count", f"1 / {SLICES}")
    desk.get_by_role("button", name="Play").click()
    expect(desk.get_by_role("button", name="Play")).to_have_attribute("aria-pressed", "true")
    expect(desk.locator("[data-part=count]").first).not_to_have_text(f"1 / {SLICES}")
    desk.get_by_role("button", name="Play").click()
    desk.locator("[data-series]").nth(1).click()
    expect(desk.locator("[data-part=other] article").first).to_be_visible()
    assert faults_of(desk) == []
    desk.screenshot(path=screenshots / "quick-report.png")
    # Both viewers lead to each other.
    desk.get_by_role("link", name="Full viewer").click()
    wait_for_pixels(desk)
    desk.get_by_role("link", name="Quick viewer").click()
    desk.wait_for_selector("html.is-ready [data-shown=yes]")


def test_the_main_pages_have_no_grave_fault_in_light_and_dark(clinic: Clinic, new_browser: Maker) -> None:
    """axe over the pages of the clinic, and over those of a link for a stranger's eyes."""
    page = clinic.context.new_page()
    home, study = f"/c/{SLUG}/", f"/c/{SLUG}/studies/{clinic.study}/"
    paths = [home, study, f"{study}share/", *(f"{home}{name}/" for name in ("upload", "links", "audit", "members"))]
    faults: list[str] = []
    for path in paths:
        answer = page.goto(path)
        assert answer
        assert answer.ok, path
        faults += faults_in_both_schemes(page)
    page.close()
    page = new_browser(PHONE).new_page()
    for path in ("/sign-in/", f"/s/{clinic.link}", "/s/unknown"):
        page.goto(path)
        faults += faults_in_both_schemes(page)
    assert faults == []
