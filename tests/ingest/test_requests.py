"""Somebody outside is asked for images: what she sees, what she may bring, and where it waits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client, override_settings
from django.utils import timezone

from apps.access.services import Principal
from apps.accounts.models import User
from apps.accounts.roles import Role, capabilities_of
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.billing.errors import LimitReachedError
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest import inbox, requests, services
from apps.ingest.models import Upload, UploadBatch, UploadRequest, WaitingStudy
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.links.errors import LinkRefusedError
from apps.links.models import Link, LinkSession
from apps.links.tokens import make_token
from apps.patients.models import Patient
from apps.storage.models import Blob
from apps.storage.services import used_bytes
from apps.studies.models import Instance, Study
from tests.conftest import signed_in
from tests.ingest.conftest import store_as
from tests.ingest.files import part10, series, zipped

pytestmark = pytest.mark.django_db

NOTE = "The CT of last week, please."
BOTS = ("facebookexternalhit/1.1", "WhatsApp/2.23", "Slackbot-LinkExpanding 1.0", "Barracuda Sentinel")


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "input" and found.get("name"):
            self.values.setdefault(str(found["name"]), found.get("value") or "")


@pytest.fixture
def made(alice_acts: Principal) -> requests.MadeRequest:
    """A request with a PIN, made by Alice."""
    return requests.create_request(alice_acts, title="Dr. House", note=NOTE)


@pytest.fixture
def erin() -> Client:
    """A browser without any account that checks CSRF as ours are."""
    return Client(enforce_csrf_checks=True)


def submit(browser: Client, url: str, **fields: str) -> HttpResponse:
    """Load the page and send its form as a browser does: with its token, and "null" as origin."""
    form = _Form()
    form.feed(browser.get(url).content.decode())
    return browser.post(url, form.values | fields, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"})


def enter(browser: Client, made: requests.MadeRequest) -> str:
    """Open the link; the address of its page."""
    response = submit(browser, f"/u/{made.token}", pin=made.pin)
    assert response.status_code == 303, response.content
    return str(response["Location"])


Sender = Callable[..., HttpResponse]


class Sending:
    """The upload page's script, as far as the server sees it."""

    def __init__(self, browser: Client, home: str) -> None:
        self.browser, self.home = browser, home
        page = browser.get(home)
        assert page.status_code == 200
        self.headers = {
            "X-CSRFToken": str(page.context["upload_config"]["csrf"]),
            "Origin": "null",
            "Sec-Fetch-Site": "same-origin",
        }
        self.batch = self.post("begin/").json()["batch"]

    def post(self, path: str, data: object = None, **options: object) -> HttpResponse:
        content_type = str(options.pop("content_type", "application/json"))
        return self.browser.post(self.home + path, data or {}, content_type=content_type, headers=self.headers)

    def store(self, *files: bytes) -> HttpResponse:
        body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files) + b"--b--"
        kind = 'multipart/related; type="application/dicom"; boundary=b'
        return self.browser.generic(
            "POST", f"{self.home}dicomweb/studies?upload={self.batch}", body, content_type=kind, headers=self.headers
        )

    def results(self) -> dict[str, object]:
        return self.browser.get(f"{self.home}batches/{self.batch}/results/").json()


@pytest.fixture
def sending(erin: Client, made: requests.MadeRequest) -> Sending:
    """Erin's open upload page."""
    return Sending(erin, enter(erin, made))


# --- the link ---------------------------------------------------------------------------------------------------------


def test_the_token_is_kept_as_a_hash_only_SHARE_01(made: requests.MadeRequest) -> None:
    link = made.request.link
    assert len(made.token) == 43
    assert made.token.encode() not in bytes(link.token_sha256)
    assert made.token not in str(list(Link.objects.values())) + str(list(Job.objects.values_list("payload", flat=True)))


def test_scanners_and_previews_count_no_use_and_learn_nothing_SHARE_09(
    erin: Client, made: requests.MadeRequest, clinic_a: Clinic
) -> None:
    for agent in BOTS:
        for method in (erin.get, erin.head):
            response = method(f"/u/{made.token}", headers={"User-Agent": agent})
            assert response.status_code == 200
            page = response.content.decode()
            for canary in (NOTE, "House", clinic_a.name, "og:", "twitter:"):
                assert canary not in page
            assert not [name for name in response.cookies if "upload" in name]
    assert Link.objects.get().view_count == 0
    assert not LinkSession.objects.exists()


def test_the_token_leaves_the_address_at_once_SHARE_10_SHARE_11_SHARE_13(
    erin: Client, made: requests.MadeRequest
) -> None:
    response = submit(erin, f"/u/{made.token}/", pin=made.pin)
    assert response.status_code == 303
    assert response["Location"] == f"/w/{made.request.link.public_id}/"
    cookie = response.cookies[f"upload-{made.request.link.public_id}"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    page = erin.get(response["Location"])
    assert made.token not in page.content.decode()
    assert NOTE in page.content.decode()
    for answer in (response, page, erin.get("/w/nothing/"), erin.get("/u/nothing")):
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["Cache-Control"] == "no-store"
        assert "noindex" in answer["X-Robots-Tag"]


@override_settings(SECURE=True, COOKIE_PREFIX="__Host-")
def test_with_https_the_cookie_is_bound_to_the_host_SHARE_10(erin: Client, made: requests.MadeRequest) -> None:
    cookie = submit(erin, f"/u/{made.token}", pin=made.pin).cookies[f"__Host-upload-{made.request.link.public_id}"]
    assert cookie["secure"]
    assert cookie["path"] == "/"
    assert not cookie["domain"]


def test_guessing_the_pin_is_slowed_down_and_freezes_the_link_SHARE_04(
    erin: Client, made: requests.MadeRequest, mailoutbox: list
) -> None:
    wrong = "000000" if made.pin != "000000" else "111111"
    for _ in range(5):
        assert submit(erin, f"/u/{made.token}", pin=wrong).status_code == 403
    response = submit(erin, f"/u/{made.token}", pin=made.pin)
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    Link.objects.update(failed_attempts=19)
    other = Client(enforce_csrf_checks=True, REMOTE_ADDR="192.0.2.7")
    assert submit(other, f"/u/{made.token}", pin=wrong).status_code == 404
    process_until_idle()
    assert made.request.link.public_id in mailoutbox[-1].body
    assert "upload-requests" in mailoutbox[-1].body


def test_whatever_the_reason_the_page_is_the_same_SHARE_14(
    erin: Client, made: requests.MadeRequest, clinic_a: Clinic
) -> None:
    nothing = erin.get(f"/u/{make_token()}")
    assert nothing.status_code == 404
    now = timezone.now()
    alive = {"expires_at": made.request.link.expires_at, "revoked_at": None, "frozen_at": None, "max_views": None,
             "view_count": 0, "kind": "upload"}  # fmt: skip
    for change in (
        {"expires_at": now},
        {"revoked_at": now},
        {"frozen_at": now},
        {"max_views": 1, "view_count": 1},
        {"kind": "share"},
    ):
        Link.objects.update(**alive)
        assert erin.get(f"/u/{made.token}").status_code == 200
        Link.objects.update(**change)
        response = erin.get(f"/u/{made.token}")
        assert (response.status_code, response.content) == (404, nothing.content), change
    Link.objects.update(**alive)
    Clinic.objects.filter(pk=clinic_a.pk).update(suspended_at=now)
    assert erin.get(f"/u/{made.token}").content == nothing.content


def test_a_policy_error_creates_nothing_SHARE_05(
    alice_acts: Principal, bob: User, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = AuditEvent.objects.count()
    with pytest.raises(LinkRefusedError):
        requests.create_request(alice_acts, title="x", lifetime=timedelta(days=400))
    nobody = Principal("member", clinic_a, capabilities_of(Role.AUDITOR), Context.system("t"), bob)
    with pytest.raises(PermissionError):
        requests.create_request(nobody, title="x")
    for step in ("apps.ingest.requests.UploadRequest.objects.create", "apps.ingest.requests.send_mail"):
        with monkeypatch.context() as broken:
            broken.setattr(step, out_of_order)
            with pytest.raises(RuntimeError):
                requests.create_request(bobs(bob, clinic_a), title="x")
    monkeypatch.setattr("apps.links.making.reserve", over_the_limit)
    with pytest.raises(LimitReachedError):
        requests.create_request(alice_acts, title="x")
    assert (Link.objects.count(), UploadRequest.objects.count(), AuditEvent.objects.count()) == (0, 0, before)


def out_of_order(*args: object, **kwargs: object) -> None:
    raise RuntimeError


def over_the_limit(*args: object, **kwargs: object) -> None:
    raise LimitReachedError("The plan allows no further link.")


def bobs(bob: User, clinic: Clinic) -> Principal:
    return Principal(
        "member", clinic, capabilities_of(Role.PHYSICIAN), Context("user", bob.public_id, user_id=bob.pk), bob
    )


def test_requests_count_against_the_links_of_the_plan_RATE_02(
    alice_acts: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("apps.links.making.reserve", lambda clinic, limit, amount, *, used: seen.append(used()))
    requests.create_request(alice_acts, title="one")
    requests.create_request(alice_acts, title="two")
    assert seen == [0, 1]


@pytest.mark.django_db(transaction=True)
def test_a_request_for_one_use_opens_once_however_many_try_SHARE_07(clinic_a: Clinic, alice: User) -> None:
    with clinic_scope(clinic_a):
        acts = Principal(
            "member", clinic_a, capabilities_of(Role.OWNER), Context("user", alice.public_id, user_id=alice.pk), alice
        )
        made = requests.create_request(acts, title="once", has_pin=False, max_uses=3)

    def attempt(_: int) -> int:
        try:
            return submit(Client(enforce_csrf_checks=True), f"/u/{made.token}").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(16)))
    assert answers.count(303) == 3
    assert Link.objects.get().view_count == 3


def test_taking_it_back_works_on_the_next_request_SHARE_03(
    sending: Sending, made: requests.MadeRequest, as_alice: Client
) -> None:
    assert as_alice.post(f"/c/alpha/upload-requests/{made.request.link.public_id}/revoke/").status_code == 302
    assert sending.store(part10()).status_code == 404
    assert sending.browser.get(sending.home).status_code == 404
    assert not Upload.objects.exists()


def test_a_request_is_lengthened_from_now_on(as_alice: Client, made: requests.MadeRequest) -> None:
    before = made.request.link.expires_at
    as_alice.post(f"/c/alpha/upload-requests/{made.request.link.public_id}/extend/", {"lifetime_days": "30"})
    made.request.link.refresh_from_db()
    assert made.request.link.expires_at > before + timedelta(days=20)


def test_everybody_sees_their_own_requests_and_the_owner_all_SHARE_08(
    as_alice: Client, bob: User, clinic_a: Clinic, made: requests.MadeRequest
) -> None:
    as_bob = signed_in(bob)
    assert "Dr. House" in as_alice.get("/c/alpha/upload-requests/").content.decode()
    assert "Dr. House" not in as_bob.get("/c/alpha/upload-requests/").content.decode()
    assert as_bob.get(f"/c/alpha/upload-requests/{made.request.link.public_id}/").status_code == 404
    created = as_bob.post(
        "/c/alpha/upload-requests/new/",
        {"title": "Bob asks", "lifetime_days": "7", "max_files": "10", "max_gigabytes": "1", "has_pin": "on"},
    )
    assert created.status_code == 200
    assert "/u/" in created.content.decode()
    assert "Bob asks" in as_alice.get("/c/alpha/upload-requests/").content.decode()
    assert "Bob asks" in as_bob.get("/c/alpha/upload-requests/").content.decode()


# --- what a sender may do ---------------------------------------------------------------------------------------------


def test_what_is_sent_waits_and_is_nowhere_else(sending: Sending, as_alice: Client, in_clinic_a: Clinic) -> None:
    assert sending.store(*series(3, PatientName="WAITING^One")).status_code == 200
    process_until_idle()
    assert set(Upload.objects.values_list("state", flat=True)) == {"waiting"}
    assert set(Blob.objects.values_list("state", flat=True)) == {"quarantined"}
    assert not Study.objects.exists()
    assert not Patient.objects.exists()
    for path in ("", "dicomweb/studies", "dicomweb/series", "dicomweb/instances", "uploads/", "links/"):
        assert b"WAITING" not in as_alice.get(f"/c/alpha/{path}").content.upper()
    arrival = WaitingStudy.objects.get()
    assert (arrival.file_count, arrival.patient_name) == (3, "WAITING^One")
    assert b"WAITING" in as_alice.get("/c/alpha/inbox/").content.upper()


def test_a_sender_learns_that_her_files_came_and_nothing_of_the_clinic_SHARE_06(
    sending: Sending, as_alice: Client, alice_acts: Principal, in_clinic_a: Clinic
) -> None:
    """The same instance, and another version of one, are there already: the answer is the same as for a new one."""
    known, changed = part10(), part10(SOPInstanceUID="2.25.9", PatientID="A")
    store_as(in_clinic_a, known)
    store_as(in_clinic_a, part10(SOPInstanceUID="2.25.9", PatientID="B"))
    assert sending.store(known, changed, part10()).status_code == 200
    process_until_idle()
    told = sending.results()["uploads"]
    assert {(row["state"], row["code"], row["text"], row["study_url"]) for row in told} == {
        ("stored", "", "Arrived", "")
    }
    brought = sending.post(
        "have/", {"batch": sending.batch, "keys": [], "instances": [["2.25.9", len(changed)]], "files": []}
    )
    assert brought.json()["instances"] == [1]
    for arrival in WaitingStudy.objects.all():
        inbox.reject(alice_acts, arrival)
    assert {row["text"] for row in sending.results()["uploads"]} == {"Arrived"}
    for path in ("/c/alpha/", "/c/alpha/inbox/", "/c/alpha/dicomweb/studies", f"/v/{sending.home.split('/')[2]}/"):
        assert sending.browser.get(path).status_code in (302, 401, 404)


def test_one_link_sees_nothing_of_another(sending: Sending, alice_acts: Principal, made: requests.MadeRequest) -> None:
    sending.store(part10())
    other = requests.create_request(alice_acts, title="other", has_pin=False)
    browser = Client(enforce_csrf_checks=True)
    home = enter(browser, other)
    assert browser.get(f"{home}batches/{sending.batch}/results/").status_code == 404
    assert browser.get(sending.home).status_code == 404
    second = Sending(browser, home)
    second.batch = sending.batch
    assert second.store(part10()).status_code == 404


def test_a_page_of_another_site_sends_nothing(sending: Sending) -> None:
    forged = sending.headers | {"X-CSRFToken": "x" * 32}
    bare = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for headers in (forged, bare, {}):
        answer = sending.browser.post(f"{sending.home}begin/", headers=headers)
        assert answer.status_code == 403
    assert UploadBatch.objects.count() == 1


def test_an_archive_from_a_sender_is_opened_and_waits(sending: Sending, in_clinic_a: Clinic) -> None:
    archive = zipped({f"CD/{n}": data for n, data in enumerate(series(4))} | {"CD/readme.txt": b"not an image"})
    assert sending.store(archive).status_code in (200, 202)
    process_until_idle()
    assert WaitingStudy.objects.get().file_count == 4
    assert not Study.objects.exists()


def test_whoever_sends_by_a_link_gets_past_no_inbox(made: requests.MadeRequest, in_clinic_a: Clinic) -> None:
    """Every batch that a link opens belongs to its request, whichever way in is named."""
    acts = Principal(
        "link",
        in_clinic_a,
        requests.SENDER_CAPABILITIES,
        Context("link", made.request.link.public_id),
        None,
        frozenset(),
        frozenset(),
    )
    for source in UploadBatch.Source:
        batch = services.open_batch(acts, source)
        assert batch.request == made.request
        [outcome] = services.store_now(acts, batch, [[part10()]])
        assert outcome.outcome == "waiting"
    assert not Instance.objects.exists()


# --- limits -----------------------------------------------------------------------------------------------------------


def test_no_more_files_and_bytes_than_were_asked_for_RATE_02(
    sending: Sending, made: requests.MadeRequest, in_clinic_a: Clinic
) -> None:
    UploadRequest.objects.update(max_files=2)
    assert sending.store(*series(2)).status_code == 200
    refused = sending.store(part10())
    assert refused.status_code == 413
    assert WaitingStudy.objects.count() == 1
    UploadRequest.objects.update(max_files=100, max_bytes=10)
    assert sending.store(part10()).status_code == 413
    row = UploadRequest.objects.get()
    assert row.file_count == 2
    told = [row for row in sending.results()["uploads"] if row["state"] == "rejected"]
    assert told
    assert all(row["code"] == "request-full" for row in told)


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_as_many_pass_as_fit_RATE_02(clinic_a: Clinic, alice: User) -> None:
    with clinic_scope(clinic_a):
        acts = Principal(
            "member", clinic_a, capabilities_of(Role.OWNER), Context("user", alice.public_id, user_id=alice.pk), alice
        )
        made = requests.create_request(acts, title="few", has_pin=False, max_files=3)
        sender = Principal("link", clinic_a, requests.SENDER_CAPABILITIES, Context("link", made.request.link.public_id))
        batch = services.open_batch(sender, UploadBatch.Source.WEB)

    def send(_: int) -> bool:
        try:
            with clinic_scope(clinic_a):
                services.receive(sender, batch, "IM", [part10()])
                return True
        except requests.RequestFullError:
            return False
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(send, range(12))) == 3
    with clinic_scope(clinic_a):
        assert Upload.objects.count() == 3
        assert (
            not Blob.objects.exclude(state=Blob.State.DESTROYED)
            .exclude(pk__in=Upload.objects.values("blob_id"))
            .exists()
        )


def test_what_waits_counts_against_the_storage_and_is_given_back_RATE_02(
    sending: Sending, alice_acts: Principal, in_clinic_a: Clinic
) -> None:
    data = part10()
    sending.store(data)
    assert used_bytes(in_clinic_a) == len(data)
    inbox.reject(alice_acts, WaitingStudy.objects.get())
    assert used_bytes(in_clinic_a) == 0


def test_an_arrival_is_told_by_mail_once_an_hour_and_without_a_name(
    sending: Sending, alice: User, mailoutbox: list
) -> None:
    for _ in range(3):
        sending.store(part10(PatientName="CANARY^Name"))
    process_until_idle()
    mails = [mail for mail in mailoutbox if "/inbox/" in mail.body]
    assert len(mails) == 1
    assert mails[0].to == [alice.email]
    assert "CANARY" not in mails[0].body + mails[0].subject
