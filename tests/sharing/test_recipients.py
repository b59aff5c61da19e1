"""Dana holds a link: what she sees before, while and after it opens; and that it is she whom the trail names."""

from __future__ import annotations

from datetime import timedelta
from html.parser import HTMLParser

import pytest
import time_machine
from django.http import Http404, HttpResponse
from django.test import Client, override_settings
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.exports.layout import Layout, Piece
from apps.links.models import Link, LinkSession
from apps.links.tokens import make_token
from apps.sharing import downloads, services
from apps.sharing.entering import RECHECK_BYTES
from apps.studies.models import Study
from tests.sharing.conftest import DESCRIPTION, NAME, principal_for

pytestmark = pytest.mark.django_db

BOTS = (
    "facebookexternalhit/1.1",
    "WhatsApp/2.23",
    "TelegramBot (like TwitterBot)",
    "Slackbot-LinkExpanding 1.0",
    "Mozilla/5.0 (compatible; Google-Safety)",
    "Barracuda Sentinel",
)


class _Form(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "input" and found.get("name"):
            self.values[str(found["name"])] = found.get("value") or ""


def submit(browser: Client, url: str, **fields: str) -> HttpResponse:
    """Load the page and send its form as a browser does: with its token, and "null" as origin."""
    form = _Form()
    form.feed(browser.get(url).content.decode())
    return browser.post(url, form.values | fields, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"})


def open_link(browser: Client, shared: services.Shared) -> HttpResponse:
    return submit(browser, f"/s/{shared.token}", pin=shared.pin)


def home_of(shared: services.Shared) -> str:
    return f"/v/{shared.share.link.public_id}/"


@pytest.mark.parametrize("agent", BOTS)
def test_scanners_and_previews_count_no_view_and_learn_nothing_SHARE_09(
    dana: Client, shared_without_pin: services.Shared, clinic_a: Clinic, agent: str
) -> None:
    for method in (dana.get, dana.head):
        response = method(f"/s/{shared_without_pin.token}", headers={"User-Agent": agent})
        assert response.status_code == 200
        page = response.content.decode()
        for canary in (NAME, DESCRIPTION, clinic_a.name, "og:", "twitter:"):
            assert canary not in page
        assert not [name for name in response.cookies if "share" in name]
    assert Link.objects.get().view_count == 0
    assert not LinkSession.objects.exists()


def test_the_token_leaves_the_address_at_once_SHARE_10(dana: Client, shared: services.Shared) -> None:
    response = open_link(dana, shared)
    assert response.status_code == 303
    assert response["Location"] == home_of(shared)
    cookie = response.cookies[f"share-{shared.share.link.public_id}"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert shared.token not in cookie.value
    page = dana.get(response["Location"])
    assert shared.token not in page.content.decode()
    assert "Please look at the sinus." in page.content.decode()


@override_settings(SECURE=True, COOKIE_PREFIX="__Host-")
def test_with_https_the_cookie_is_bound_to_the_host_SHARE_10(dana: Client, shared: services.Shared) -> None:
    response = open_link(dana, shared)
    cookie = response.cookies[f"__Host-share-{shared.share.link.public_id}"]
    assert cookie["secure"]
    assert cookie["path"] == "/"
    assert not cookie["domain"]


def test_both_spellings_of_the_address_open(dana: Client, shared: services.Shared) -> None:
    for spelling in (f"/s/{shared.token}", f"/s/{shared.token}/"):
        assert dana.get(spelling).status_code == 200


def test_a_wrong_pin_is_said_and_the_fifth_makes_wait_AUTH_07(dana: Client, shared: services.Shared) -> None:
    wrong = "000000" if shared.pin != "000000" else "111111"
    for _ in range(5):
        response = submit(dana, f"/s/{shared.token}", pin=wrong)
        assert response.status_code == 403
        assert "This is not right." in response.content.decode()
    response = submit(dana, f"/s/{shared.token}", pin=shared.pin)
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0


@pytest.mark.parametrize("reason", ["unknown", "expired", "revoked", "frozen", "exhausted", "suspended"])
def test_whatever_the_reason_the_page_is_the_same_SHARE_14(
    dana: Client, shared_without_pin: services.Shared, clinic_a: Clinic, reason: str
) -> None:
    nothing = dana.get(f"/s/{make_token()}")
    now = timezone.now()
    changes = {
        "expired": {"expires_at": now},
        "revoked": {"revoked_at": now},
        "frozen": {"frozen_at": now},
        "exhausted": {"max_views": 1, "view_count": 1},
    }
    Link.objects.update(**changes.get(reason, {"failed_attempts": 0}))
    if reason == "suspended":
        Clinic.objects.filter(pk=clinic_a.pk).update(suspended_at=now)
    token = make_token() if reason == "unknown" else shared_without_pin.token
    response = dana.get(f"/s/{token}")
    assert response.status_code == nothing.status_code == 404
    assert response.content == nothing.content


@pytest.mark.parametrize("cause", ["revoked", "expired", "frozen", "suspended"])
def test_an_open_link_shows_nothing_on_the_next_request_SHARE_02_SHARE_03(
    dana: Client, shared: services.Shared, clinic_a: Clinic, cause: str
) -> None:
    open_link(dana, shared)
    viewer = f"{home_of(shared)}studies/{shared_study(shared).public_id}/"
    assert dana.get(viewer).status_code == dana.get(home_of(shared)).status_code == 200
    now = timezone.now()
    if cause == "suspended":
        Clinic.objects.filter(pk=clinic_a.pk).update(suspended_at=now)
    else:
        Link.objects.update(**{"expires_at" if cause == "expired" else f"{cause}_at": now})
    for url in (home_of(shared), viewer, f"{home_of(shared)}dicomweb/studies"):
        response = dana.get(url)
        assert response.status_code == 404, url
        assert NAME not in response.content.decode()


def shared_study(shared: services.Shared) -> Study:
    with clinic_scope(shared.share.clinic):
        return shared.share.studies.select_related("patient").get()


def test_an_idle_link_closes_itself(dana: Client, shared: services.Shared) -> None:
    open_link(dana, shared)
    with time_machine.travel(timezone.now() + timedelta(minutes=31), tick=False):
        assert dana.get(home_of(shared)).status_code == 404


def test_only_the_links_own_studies_exist_SHARE_06(
    dana: Client, shared: services.Shared, second_study: Study, foreign_study: Study
) -> None:
    open_link(dana, shared)
    for other in (second_study, foreign_study):
        assert dana.get(f"{home_of(shared)}studies/{other.public_id}/").status_code == 404
        assert dana.get(f"{home_of(shared)}download/{other.public_id}/").status_code == 404
    for url in ("/c/alpha/", "/c/alpha/links/", "/c/alpha/dicomweb/studies"):
        assert dana.get(url).status_code in (302, 401)


def test_a_members_session_opens_no_link_SHARE_06(as_alice: Client, shared: services.Shared) -> None:
    assert as_alice.get(home_of(shared)).status_code == 404


def test_the_trail_names_the_link_even_in_a_members_browser(as_alice: Client, shared: services.Shared) -> None:
    response = as_alice.post(f"/s/{shared.token}", {"pin": shared.pin})
    assert response.status_code == 303
    as_alice.get(f"{home_of(shared)}studies/{shared_study(shared).public_id}/")
    event = AuditEvent.objects.get(verb="study.opened")
    assert (event.actor_kind, event.actor_reference) == ("link", shared.share.link.public_id)
    assert event.actor_id is None


def test_a_single_study_with_nothing_to_say_opens_at_once(
    dana: Client, study: Study, shared_without_pin: services.Shared
) -> None:
    response = open_link(dana, shared_without_pin)
    assert response["Location"] == f"{home_of(shared_without_pin)}studies/{study.public_id}/"


def test_downloading_needs_the_switch(dana: Client, shared: services.Shared, study: Study) -> None:
    open_link(dana, shared)
    assert dana.get(f"{home_of(shared)}download/{study.public_id}/").status_code == 404


def test_a_download_is_the_studys_files_and_stops_when_the_link_is_taken_back_SHARE_03(
    dana: Client, clinic_a: Clinic, alice: User, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [b"a" * RECHECK_BYTES, b"b" * RECHECK_BYTES, b"c"]
    laid = Layout([Piece(len(piece), piece) for piece in pieces], "some-digest")
    monkeypatch.setattr(downloads, "layout_of", lambda clinic, studies, kind: laid)
    with clinic_scope(clinic_a):
        made = services.share(principal_for(alice, clinic_a), [study], has_pin=False, may_download=True)
    open_link(dana, made)
    url = f"{home_of(made)}download/{study.public_id}/"
    whole = dana.get(url)
    assert whole.getvalue() == b"".join(pieces)
    assert whole["Content-Type"] == "application/zip"
    assert NAME not in whole["Content-Disposition"]
    assert AuditEvent.objects.get(public_id=whole["X-Audit-Id"]).verb == "study.downloaded"
    stream = iter(dana.get(url).streaming_content)
    assert next(stream) == pieces[0]
    rest = dana.get(url, headers={"Range": f"bytes={len(pieces[0])}-", "If-Range": whole["ETag"]})
    assert rest.getvalue() == b"".join(pieces[1:])
    Link.objects.update(revoked_at=timezone.now())
    with pytest.raises(Http404):
        next(stream)


def test_a_single_study_without_a_note_opens_at_once(
    dana: Client, shared_without_pin: services.Shared, study: Study
) -> None:
    open_link(dana, shared_without_pin)
    home = dana.get(home_of(shared_without_pin))
    assert home["Location"] == f"{home_of(shared_without_pin)}studies/{study.public_id}/"


def test_several_studies_are_listed(dana: Client, clinic_a: Clinic, alice, study: Study, second_study: Study) -> None:
    with clinic_scope(clinic_a):
        made = services.share(principal_for(alice, clinic_a), [study, second_study], has_pin=False)
    open_link(dana, made)
    page = dana.get(home_of(made)).content.decode()
    assert study.study_description in page
    assert second_study.study_description in page
    assert AuditEvent.objects.get(verb="study.listed").additional_data["study_count"] == 2


def test_every_answer_stays_out_of_caches_search_engines_and_referers_SHARE_11_SHARE_13(
    dana: Client, shared: services.Shared, study: Study
) -> None:
    landing = f"/s/{shared.token}"
    responses = [dana.get(landing), dana.get(f"/s/{make_token()}"), dana.get(home_of(shared))]
    responses += [submit(dana, landing, pin="wrong"), open_link(dana, shared)]
    responses += [dana.get(home_of(shared)), dana.get(f"{home_of(shared)}studies/{study.public_id}/")]
    responses += [dana.get(f"{home_of(shared)}studies/nothing/"), dana.get(f"{home_of(shared)}dicomweb/studies")]
    for response in responses:
        assert "no-store" in response["Cache-Control"]
        assert response["Referrer-Policy"] == "no-referrer"
        assert response["X-Robots-Tag"] == "noindex, nofollow, noarchive"


def test_opening_needs_the_pages_own_form_WEB_03(dana: Client, shared_without_pin: services.Shared) -> None:
    url = f"/s/{shared_without_pin.token}"
    assert dana.post(url).status_code == 403
    form = _Form()
    form.feed(dana.get(url).content.decode())
    foreign = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
    assert dana.post(url, form.values, headers=foreign).status_code == 403
    assert dana.post(url, form.values, headers={"Origin": "https://evil.example"}).status_code == 403
    assert Link.objects.get().view_count == 0
    assert dana.post(url, form.values, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_closing_forgets_the_link_on_this_computer(dana: Client, shared: services.Shared) -> None:
    open_link(dana, shared)
    form = _Form()
    form.feed(dana.get(home_of(shared)).content.decode())
    closed = dana.post(f"{home_of(shared)}close/", form.values, headers={"Origin": "null"})
    assert closed.status_code == 200
    assert dana.get(home_of(shared)).status_code == 404


def test_no_log_line_holds_a_token_SHARE_12(
    dana: Client, shared: services.Shared, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    unknown = make_token()
    dana.get(f"/s/{unknown}")
    dana.post(f"/s/{shared.token}", {"pin": shared.pin})
    open_link(dana, shared)
    captured = capfd.readouterr()
    written = captured.out + captured.err
    for token in (unknown, shared.token, shared.pin):
        assert token not in written
