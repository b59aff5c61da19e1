"""Alice and Bob share: one link for one patient, all or nothing, seen and taken back by who may."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core import mail
from django.http import Http404
from django.test import Client

from apps.accounts.models import User
from apps.accounts.roles import Role
from apps.audit.errors import AuditUnavailableError
from apps.audit.models import AuditEvent
from apps.billing.models import Plan
from apps.billing.services import current_plan
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.jobs.services import process_until_idle
from apps.links.models import Link
from apps.sharing import services
from apps.sharing.errors import NotOnePatientError
from apps.sharing.models import ShareLink
from apps.studies.models import Study
from tests.sharing.conftest import NAME, make_study, principal_for

pytestmark = pytest.mark.django_db

FORM = {"lifetime_days": "7", "factor": "pin", "note": "", "max_views": ""}


def path(study: Study) -> str:
    return f"/c/alpha/studies/{study.public_id}/share/"


def test_the_link_is_shown_once_with_its_pin(as_bob: Client, study: Study) -> None:
    page = as_bob.post(path(study), FORM)
    assert page.status_code == 200
    token = page.context["url"].rsplit("/", 1)[1]
    assert f"http://testserver/s/{token}" in page.content.decode()
    assert page.context["pin"] in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    link = Link.objects.get()
    later = as_bob.get(f"/c/alpha/links/{link.public_id}/").content.decode()
    assert token not in later
    assert page.context["pin"] not in later


def test_one_link_shows_one_patient(as_alice: Client, study: Study, second_study: Study, clinic_a: Clinic) -> None:
    stranger = make_study(clinic_a, 5)
    page = as_alice.get(path(study)).content.decode()
    assert second_study.public_id in page
    assert stranger.public_id not in page
    refused = as_alice.post(path(study), FORM | {"studies": [stranger.public_id]})
    assert refused.status_code == 400
    made = as_alice.post(path(study), FORM | {"studies": [second_study.public_id]})
    assert made.status_code == 200
    with clinic_scope(clinic_a):
        assert set(ShareLink.objects.get().studies.all()) == {study, second_study}


def test_the_service_mixes_no_patients(clinic_a: Clinic, alice: User, study: Study) -> None:
    other = make_study(clinic_a, 5)
    with clinic_scope(clinic_a):
        for chosen in ([], [study, other]):
            with pytest.raises(NotOnePatientError):
                services.share(principal_for(alice, clinic_a), chosen)
    assert not Link.objects.exists()


def test_a_foreign_study_cannot_be_shared(
    as_alice: Client, clinic_a: Clinic, alice: User, foreign_study: Study
) -> None:
    assert as_alice.post(path(foreign_study), FORM).status_code == 404
    with clinic_scope(clinic_a), pytest.raises(Http404):
        services.share(principal_for(alice, clinic_a), [foreign_study])
    assert not Link.objects.exists()


@pytest.mark.parametrize(
    "broken", ["apps.links.holding.record", "apps.sharing.making.send_mail", "apps.links.making.reserve"]
)
def test_a_failure_anywhere_makes_no_link_SHARE_05(
    clinic_a: Clinic, alice: User, bob: User, study: Study, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AuditUnavailableError

    monkeypatch.setattr(broken, fail)
    with clinic_scope(clinic_a):
        with pytest.raises(AuditUnavailableError):
            services.share(principal_for(bob, clinic_a, Role.PHYSICIAN), [study])
        assert not ShareLink.objects.exists()
    assert not Link.objects.exists()


def test_the_plan_says_how_many_links_and_the_page_says_it(as_alice: Client, clinic_a: Clinic, study: Study) -> None:
    Plan.objects.filter(pk=current_plan(clinic_a).pk).update(links=0)
    page = as_alice.post(path(study), FORM)
    assert page.status_code == 409
    assert page.context["form"].non_field_errors()
    assert not Link.objects.exists()


@pytest.mark.parametrize("field", [{"lifetime_days": "3650"}, {"max_views": "0"}, {"lifetime_days": ""}])
def test_senseless_wishes_are_refused_SHARE_02(as_alice: Client, study: Study, field: dict[str, str]) -> None:
    assert as_alice.post(path(study), FORM | field).status_code == 400
    assert not Link.objects.exists()


def test_fields_that_are_not_on_the_form_change_nothing_AUTHZ_09(
    as_bob: Client, bob: User, clinic_a: Clinic, clinic_b: Clinic, alice: User, study: Study
) -> None:
    extra = {"clinic": clinic_b.pk, "created_by": alice.pk, "expires_at": "2099-01-01", "token_sha256": "x", "pin": "1"}
    as_bob.post(path(study), FORM | extra)
    link = Link.objects.get()
    assert link.clinic == clinic_a
    assert link.created_by == bob
    assert link.expires_at.year < 2099


@pytest.mark.django_db(transaction=True)
def test_the_owner_hears_of_a_new_link_without_whom_it_shows_SHARE_08(
    as_bob: Client, alice: User, study: Study
) -> None:
    as_bob.post(path(study), FORM)
    process_until_idle()
    [message] = mail.outbox
    assert message.to == [alice.email]
    assert NAME not in f"{message.subject} {message.body}"
    assert "/c/alpha/links/" in message.body


def test_owners_see_all_links_and_others_their_own_SHARE_08(
    as_alice: Client, as_bob: Client, bob: User, clinic_a: Clinic, shared: services.Shared, second_study: Study
) -> None:
    as_bob.post(path(second_study), FORM)
    theirs = Link.objects.get(created_by=bob)
    owners_list = as_alice.get("/c/alpha/links/").content.decode()
    bobs_list = as_bob.get("/c/alpha/links/").content.decode()
    assert shared.share.link.public_id in owners_list
    assert theirs.public_id in owners_list
    assert theirs.public_id in bobs_list
    assert shared.share.link.public_id not in bobs_list
    assert as_bob.get(f"/c/alpha/links/{shared.share.link.public_id}/").status_code == 404
    assert as_bob.post(f"/c/alpha/links/{shared.share.link.public_id}/revoke/").status_code == 404
    assert as_alice.post(f"/c/alpha/links/{theirs.public_id}/revoke/").status_code == 302
    theirs.refresh_from_db()
    assert theirs.revoked_at is not None


def test_another_clinics_links_do_not_exist(as_charlie: Client, shared: services.Shared) -> None:
    reference = shared.share.link.public_id
    assert as_charlie.get(f"/c/beta/links/{reference}/").status_code == 404
    assert as_charlie.post(f"/c/beta/links/{reference}/revoke/").status_code == 404
    assert Link.objects.get().revoked_at is None


def test_revoking_needs_post(as_alice: Client, shared: services.Shared) -> None:
    assert as_alice.get(f"/c/alpha/links/{shared.share.link.public_id}/revoke/").status_code == 405
    assert Link.objects.get().revoked_at is None


def test_the_link_page_shows_who_used_it(as_alice: Client, dana: Client, shared: services.Shared) -> None:
    visitor = Client(headers={"User-Agent": "Firefox of Dana"})
    visitor.post(f"/s/{shared.token}", {"pin": "wrong"})
    visitor.post(f"/s/{shared.token}", {"pin": shared.pin})
    page = as_alice.get(f"/c/alpha/links/{shared.share.link.public_id}/").content.decode()
    assert "Somebody with the link" in page
    assert "Link refused" in page
    assert "Firefox of Dana" in page


def test_looking_at_links_is_recorded_too_AUD_01(as_alice: Client, shared: services.Shared) -> None:
    for url, verb in (
        ("/c/alpha/links/", "link.listed"),
        (f"/c/alpha/links/{shared.share.link.public_id}/", "link.viewed"),
    ):
        response = as_alice.get(url)
        assert AuditEvent.objects.get(public_id=response["X-Audit-Id"]).verb == verb


@pytest.mark.parametrize("payload", ["<img src=x onerror=alert(1)>", "'\"><script>alert(1)</script>", "{{ 7*7 }}"])
def test_a_note_is_text_and_nothing_else_WEB_06(
    as_alice: Client, dana: Client, clinic_a: Clinic, alice: User, study: Study, payload: str
) -> None:
    with clinic_scope(clinic_a):
        made = services.share(principal_for(alice, clinic_a), [study], note=payload, has_pin=False)
    visitor = Client()
    visitor.post(f"/s/{made.token}")
    pages = [
        visitor.get(f"/v/{made.share.link.public_id}/").content.decode(),
        as_alice.get(f"/c/alpha/links/{made.share.link.public_id}/").content.decode(),
    ]
    for page in pages:
        assert "<img src=x" not in page
        assert "<script>alert" not in page


def test_links_are_made_in_one_place_SHARE_08() -> None:
    making = re.compile(r"\b(?<!class )(Link|ShareLink)(\.objects\.\w*create\w*)?\(")
    makers = {
        str(file.relative_to(settings.BASE_DIR))
        for file in Path(settings.BASE_DIR, "apps").rglob("*.py")
        if "migrations" not in file.parts and "links.models" in (text := file.read_text()) and making.search(text)
    }
    assert makers == {"apps/links/making.py", "apps/sharing/making.py"}
