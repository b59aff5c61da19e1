"""The upload page when things go wrong in the middle: nothing is lost, nothing comes twice, and the page says so."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.faults import processes
from tests.faults.load import SLUG, Access
from tests.flows.conftest import PHONE, WIDE
from tests.flows.installation import Installation
from tests.flows.line import Line
from tests.ingest.files import series, zipped

FILES = 30
PATIENT = "CANARYUPLOAD^Wilma"
# What is there, as the database of the installation says.
COUNT = """
import json
from django.db.models import Count
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import Upload
with clinic_scope(Clinic.objects.get(slug="faults")):
    print(json.dumps(dict(Upload.objects.filter(sop_instance_uid__in={uids}).values_list("sop_instance_uid")
        .annotate(Count("pk")).order_by())))
"""
PLAN = "from apps.billing.models import Plan; Plan.objects.update(storage_bytes={room})"
USED = """
from apps.clinics.models import Clinic
from apps.storage.services import used_bytes
from apps.clinics.scoping import clinic_scope
clinic = Clinic.objects.get(slug="faults")
with clinic_scope(clinic):
    print(used_bytes(clinic))
"""
SIGN_OUT = "from apps.accounts.models import UserSession; UserSession.objects.all().delete()"
SIGN_IN = """
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest
from django.utils import timezone
from django_otp import DEVICE_ID_SESSION_KEY
from apps.accounts.models import TotpDevice, UserSession
from apps.accounts.sessions import SessionStore
user = get_user_model().objects.get(email="client@faults.example")
request = HttpRequest()
request.session = SessionStore()
login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])
request.session[DEVICE_ID_SESSION_KEY] = TotpDevice.objects.get(user=user).persistent_id
request.session.save()
UserSession.objects.filter(user=user).update(verified_at=timezone.now())
print(request.session.session_key)
"""


@pytest.fixture(scope="module")
def access(installation: Installation) -> Access:
    return Access(installation)


@pytest.fixture
def line(installation: Installation) -> Iterator[Line]:
    made = Line(installation.port)
    yield made
    made.close()


Study = Callable[[str], tuple[Path, list[str]]]


@pytest.fixture
def make_study(tmp_path: Path) -> Study:
    """Write a study of a quarter of a megabyte a file into a folder; its UIDs too."""

    def make(name: str) -> tuple[Path, list[str]]:
        folder = tmp_path / name
        folder.mkdir()
        noise = np.random.default_rng(len(name))
        uids = []
        for number, data in enumerate(series(FILES, PatientName=PATIENT), 1):
            dataset = pydicom.dcmread(io.BytesIO(data))
            dataset.Rows = dataset.Columns = 360
            dataset.PixelData = noise.integers(0, 4096, 360 * 360, dtype=np.uint16).tobytes()
            dataset.save_as(folder / f"IM{number:03}")
            uids.append(str(dataset.SOPInstanceUID))
        return folder, uids

    return make


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(new_browser: Callable[..., BrowserContext], access: Access) -> OpenPage:
    """Open the upload page as a signed-in member, over this line."""

    def open_it(line: Line, viewport: dict[str, int] = WIDE) -> Page:
        context = new_browser(viewport)
        cookie = {"name": access.cookie, "value": access.session_key, "url": line.base_url}
        context.add_cookies([cookie | {"secure": True, "httpOnly": True}])
        page = context.new_page()
        page.goto(f"{line.base_url}/c/{SLUG}/upload/")
        return page

    return open_it


def choose(page: Page, folder: Path) -> None:
    page.locator("[data-part=folder]").set_input_files(folder)


def wait_until_done(page: Page) -> str:
    page.locator("#upload[data-done=true]").wait_for(timeout=180_000)
    return page.locator("[data-part=done]").inner_text()


def times_brought(installation: Installation, uids: list[str]) -> dict[str, int]:
    code = COUNT.replace("{uids}", repr(uids))
    found: dict[str, int] = json.loads(installation.manage("shell", "-v", "0", "-c", code))
    return found


def test_an_upload_that_broke_off_goes_on_from_another_computer(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage, screenshots: Path
) -> None:
    folder, uids = make_study("broken-off")
    size = sum(path.stat().st_size for path in folder.iterdir())
    page = open_page(line)
    line.rate, line.down_after_bytes = 3 << 20, line.sent_bytes + size * 3 // 4
    choose(page, folder)
    expect(page.locator("[data-part=notice]")).to_contain_text("connection is lost", timeout=60_000)
    page.screenshot(path=screenshots / "upload-line-lost.png")
    # The computer is switched off; of what had arrived nothing is sent again.
    page.context.close()
    there = times_brought(installation, uids)
    line.is_down, line.rate = False, 0
    before = line.sent_bytes
    second = open_page(line, PHONE)
    choose(second, folder)
    said = wait_until_done(second)
    second.screenshot(path=screenshots / "upload-gone-on.png")
    assert f"{len(there)} sent earlier" in said
    assert f"{FILES - len(there)} stored" in said
    assert there
    assert times_brought(installation, uids) == dict.fromkeys(uids, 1)
    assert line.sent_bytes - before < size * (FILES - len(there) + 2) / FILES + 300_000


def test_a_line_that_breaks_every_few_seconds_brings_everything_once_F24(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage
) -> None:
    folder, uids = make_study("flapping")
    disc, of_disc = make_study("on-a-disc")
    packed = zipped({f"DICOM/{path.name}": path.read_bytes() for path in disc.iterdir()}, method=0)
    (folder / "disc.zip").write_bytes(packed)
    size = sum(path.stat().st_size for path in folder.iterdir())
    page = open_page(line)
    line.rate, line.break_every = 3 << 20, 2.0
    choose(page, folder)
    said = wait_until_done(page)
    assert f"{2 * FILES} stored" in said
    assert "problem" not in said
    assert "already there" not in said
    assert line.breaks >= 2
    assert times_brought(installation, uids + of_disc) == dict.fromkeys(uids + of_disc, 1)
    # A break costs what was under way at that moment: three requests, of each the file or piece it was at.
    assert line.sent_bytes < size + line.breaks * 3 * (4 << 20)


def test_a_full_plan_stops_the_upload_and_going_on_sends_the_rest_RATE_02(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage, screenshots: Path
) -> None:
    folder, uids = make_study("quota")
    one = next(folder.iterdir()).stat().st_size
    used = int(installation.manage("shell", "-v", "0", "-c", USED))
    installation.manage("shell", "-c", PLAN.format(room=used + one // 2))
    try:
        page = open_page(line)
        choose(page, folder)
        notice = page.locator("[data-part=notice]")
        expect(notice).to_contain_text("plan is full", timeout=60_000)
        expect(page.get_by_role("button", name="Go on")).to_be_visible()
        expect(page.locator("[data-filter=problem] [data-part=count]")).to_have_text(re.compile(r"\d+"))
        page.screenshot(path=screenshots / "upload-quota.png")
    finally:
        installation.manage("shell", "-c", PLAN.format(room=1 << 40))
    page.get_by_role("button", name="Go on").click()
    assert f"{FILES} stored" in wait_until_done(page)
    assert not [uid for uid, count in times_brought(installation, uids).items() if count > 2]


def test_signed_out_in_the_middle_the_page_waits_and_goes_on_by_itself(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage, access: Access, screenshots: Path
) -> None:
    folder, uids = make_study("signed-out")
    page = open_page(line)
    line.rate = 1 << 20
    choose(page, folder)
    expect(page.locator("[data-part=bar]")).to_be_visible()
    installation.manage("shell", "-c", SIGN_OUT)
    expect(page.locator("[data-part=notice]")).to_contain_text("signed out", timeout=60_000)
    expect(page.get_by_role("link", name="Sign in in another tab")).to_be_visible()
    page.screenshot(path=screenshots / "upload-signed-out.png")
    access.session_key = installation.manage("shell", "-v", "0", "-c", SIGN_IN).strip()
    cookie = {
        "name": access.cookie,
        "value": access.session_key,
        "url": line.base_url,
        "secure": True,
        "httpOnly": True,
    }
    page.context.add_cookies([cookie])
    line.rate = 0
    assert f"{FILES} stored" in wait_until_done(page)
    assert times_brought(installation, uids) == dict.fromkeys(uids, 1)


def test_without_broker_and_worker_files_arrive_and_archives_follow_F6(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage
) -> None:
    folder, uids = make_study("no-worker")
    (folder / "more.zip").write_bytes(zipped({"IM": series(1)[0]}))
    assert installation.process
    stopped = [pid for kind in ("worker", "worker child") for pid in processes.find(installation.process.pid, kind)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        page = open_page(line)
        choose(page, folder)
        expect(page.locator("[data-filter=stored] [data-part=count]")).to_have_text(str(FILES), timeout=60_000)
        expect(page.locator("[data-filter=open] [data-part=count]")).to_have_text("1")
        expect(page.locator("[data-part=more]")).to_contain_text("You may leave this page")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert f"{FILES + 1} stored" in wait_until_done(page)
    assert times_brought(installation, uids) == dict.fromkeys(uids, 1)


TROUBLE: dict[str, Callable[[Route], None]] = {
    "has no room left": lambda route: route.fulfill(status=503, json={"code": "storage-full", "message": "Full."}),
    "cannot take files at the moment": lambda route: route.fulfill(status=503, body="<h1>No database</h1>"),
    "connection is lost": lambda route: route.abort(),
}


def test_each_trouble_has_its_words_and_the_page_goes_on_by_itself_F5_F7(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage
) -> None:
    """What the installation says of itself in these states, its own tests prove; here is what the page makes of it."""
    folder, uids = make_study("troubled")
    page = open_page(line)
    troubles = iter(TROUBLE.values())

    def answer(route: Route) -> None:
        trouble = next(troubles, None)
        trouble(route) if trouble else route.continue_()

    page.route("**/dicomweb/studies**", answer)
    heard: set[str] = set()
    page.expose_function("heard", lambda text: heard.add(text))  # noqa: PLW0108  # a method of a set it does not take
    page.evaluate("""() => {
        const note = document.querySelector("[data-part=note]");
        new MutationObserver(() => window.heard(note.textContent)).observe(note, {childList: true});
    }""")
    choose(page, folder)
    assert f"{FILES} stored" in wait_until_done(page)
    assert not [words for words in TROUBLE if not any(words in said for said in heard)]
    assert times_brought(installation, uids) == dict.fromkeys(uids, 1)


def lies_in_the_clear(installation: Installation, canaries: list[bytes]) -> list[str]:
    """Files of the installation and its broker, and whatever its processes hold open, that hold a canary."""
    paths = [path for place in installation.places_of_bytes() for path in place.rglob("*")]
    for pid in processes.owned_by(installation.data_dir):
        # A temporary file without a name is reached here too.
        paths += Path(f"/proc/{pid}/fd").glob("*")
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            # The index is in the database, in plain columns, by design.
            if path.is_file() and "sqlite3" not in str(path.resolve()):
                content = path.read_bytes()
                found += [str(path.resolve()) for canary in canaries if canary in content]
    return found


def test_nothing_lies_in_the_clear_while_it_is_sent_and_after_a_kill_and_the_page_goes_on_ENC_10_F2(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage
) -> None:
    folder, uids = make_study("canaries")
    disc, of_disc = make_study("canaries-on-a-disc")
    (folder / "disc.zip").write_bytes(zipped({path.name: path.read_bytes() for path in disc.iterdir()}, method=0))
    pixels = [path.read_bytes()[-2000:-1900] for path in (next(folder.glob("IM*")), next(disc.iterdir()))]
    family = PATIENT.partition("^")[0].encode()
    canaries = [family, family.hex().encode(), PATIENT.encode("utf-16-le"), *pixels]
    assert installation.process
    page = open_page(line)
    line.rate = 4 << 20
    choose(page, folder)
    for _look in range(3):
        page.wait_for_timeout(300)
        assert lies_in_the_clear(installation, canaries) == []
    for pid in processes.find(installation.process.pid, "web worker"):
        os.kill(pid, signal.SIGKILL)
    assert lies_in_the_clear(installation, canaries) == []
    line.rate = 0
    assert f"{2 * FILES} stored" in wait_until_done(page)
    assert times_brought(installation, uids + of_disc) == dict.fromkeys(uids + of_disc, 1)
    assert lies_in_the_clear(installation, canaries) == []


def test_a_long_list_keeps_few_rows_and_every_file_its_outcome(line: Line, open_page: OpenPage, tmp_path: Path) -> None:
    """The short form of `python -m tests.faults.page`."""
    for number, data in enumerate(series(400)):
        (tmp_path / f"IM{number:03}").write_bytes(data)
    page = open_page(line)
    choose(page, tmp_path)
    assert wait_until_done(page) == "Done: 400 stored"
    assert page.locator(".upload-row").count() < 40
    page.locator("[data-part=box]").evaluate("box => { box.scrollTop = box.scrollHeight; }")
    expect(page.locator(".upload-row").last).to_contain_text("IM399")
    expect(page.locator(".upload-row").last).to_have_attribute("aria-posinset", "400")


def test_paused_cancelled_and_saved_as_a_list(
    installation: Installation, line: Line, make_study: Study, open_page: OpenPage, tmp_path: Path
) -> None:
    folder, uids = make_study("paused")
    (folder / "=cmd|calc.txt").write_text("no image")
    page = open_page(line)
    line.rate = 1 << 20
    choose(page, folder)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-part=done]")).to_have_text("Paused")
    sent = line.sent_bytes
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    said = wait_until_done(page)
    assert "with problems" in said
    assert line.sent_bytes >= sent
    with page.expect_download() as download:
        page.get_by_role("button", name="Save this list").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert len(text.splitlines()) == FILES + 2
    assert '"paused/=cmd|calc.txt"' in text
    # The same files once more: what has arrived is known, the rest is sent.
    line.rate = 0
    page.reload()
    choose(page, folder)
    wait_until_done(page)
    assert times_brought(installation, uids) == dict.fromkeys(uids, 1)
