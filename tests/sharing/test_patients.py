"""A patient's own link: she sees who opened it and passes on less than she has, for no longer than she has it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import time_machine
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.links import services as links
from apps.links.errors import LinkRefusedError, LinkUnavailableError
from apps.links.models import Link, LinkState
from apps.sharing import services
from apps.sharing.models import ShareLink
from apps.studies.models import Study
from tests.sharing.conftest import principal_for
from tests.sharing.test_recipients import home_of, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def own(clinic_a: Clinic, alice: User, study: Study, second_study: Study) -> services.Shared:
    with clinic_scope(clinic_a):
        return services.share(
            principal_for(alice, clinic_a), [study, second_study], has_pin=False, may_pass_on=True, may_download=True
        )


@pytest.fixture
def clara(own: services.Shared) -> Client:
    """The patient, who has her link open."""
    browser = Client(enforce_csrf_checks=True)
    assert submit(browser, f"/s/{own.token}").status_code == 303
    return browser


def pass_on(clara: Client, own: services.Shared, **fields: str) -> HttpResponse:
    return submit(clara, f"{home_of(own)}pass-on/", **({"recipient": "Dr. House", "lifetime_days": "3"} | fields))


def address(made: HttpResponse) -> str:
    """The path of the link that a page shows this once."""
    return made.content.decode().partition('id="share-url" type="text" value="http://testserver')[2].partition('"')[0]


def act(clara: Client, own: services.Shared, path: str) -> HttpResponse:
    """Send the small form of a button on the page."""
    page = clara.get(f"{home_of(own)}visits/")
    token = page.content.decode().partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    return clara.post(f"{home_of(own)}{path}", {"csrfmiddlewaretoken": token}, headers=headers)


def child() -> Link:
    return Link.objects.exclude(parent=None).get()


def test_she_passes_on_a_link_that_opens_the_same_studies(
    clara: Client, own: services.Shared, study: Study, clinic_a: Clinic
) -> None:
    made = pass_on(clara, own, has_pin="on")
    pin, url = made.context["pin"], address(made)
    assert (child().parent, child().created_by) == (own.share.link, None)
    house = Client(enforce_csrf_checks=True)
    assert submit(house, url, pin="wrong").status_code == 403
    assert submit(house, url, pin=pin).status_code == 303
    home = f"/v/{child().public_id}/"
    assert house.get(f"{home}studies/{study.public_id}/").status_code == 200
    assert house.get(f"{home}download/{study.public_id}/").status_code == 404, "downloading was not passed on"
    assert house.get(f"{home}visits/").status_code == house.get(f"{home}pass-on/").status_code == 404
    event = AuditEvent.objects.filter(verb="link.created").latest("pk")
    assert (event.actor_kind, event.actor_reference) == ("link", own.share.link.public_id)
    assert event.details["link_reference"] == own.share.link.public_id


def test_she_sees_who_opened_what(clara: Client, own: services.Shared, study: Study) -> None:
    url = address(pass_on(clara, own))
    house = Client(enforce_csrf_checks=True, headers={"User-Agent": "Firefox/130 (Android)"})
    submit(house, url)
    house.get(f"/v/{child().public_id}/studies/{study.public_id}/")
    page = clara.get(f"{home_of(own)}visits/").content.decode()
    assert "Link for Dr. House" in page
    assert "Firefox, Android" in page
    assert study.study_description in page
    opened = AuditEvent.objects.get(verb="study.opened")
    receipt = clara.get(f"{home_of(own)}visits/{opened.public_id}/receipt.json")
    assert json.loads(receipt.content)["proof"]["event"][4] == "study.opened"
    made = AuditEvent.objects.filter(verb="link.created").earliest("pk")
    assert clara.get(f"{home_of(own)}visits/{made.public_id}/receipt.json").status_code == 404


def test_a_link_without_the_right_has_none_of_these_pages(
    clinic_a: Clinic, alice: User, study: Study, dana: Client
) -> None:
    with clinic_scope(clinic_a):
        plain = services.share(principal_for(alice, clinic_a), [study], has_pin=False)
    submit(dana, f"/s/{plain.token}")
    for path in ("visits/", "pass-on/"):
        assert dana.get(home_of(plain) + path).status_code == 404


@pytest.mark.parametrize("what", ["revoked_at", "paused_at", "frozen_at"])
def test_the_end_of_hers_is_the_end_of_what_came_from_it_SHARE_03(
    clara: Client, own: services.Shared, study: Study, what: str
) -> None:
    url = address(pass_on(clara, own))
    house = Client(enforce_csrf_checks=True)
    submit(house, url)
    page = f"/v/{child().public_id}/studies/{study.public_id}/"
    assert house.get(page).status_code == 200
    Link.objects.filter(pk=own.share.link.pk).update(**{what: timezone.now()})
    assert house.get(page).status_code == house.get(url).status_code == 404
    assert child().state() != LinkState.LIVE
    with pytest.raises(LinkUnavailableError):
        links.redeem(url.rpartition("/")[2], "", "share", context=Context(actor_kind="anonymous"))


def test_no_link_outlives_the_one_it_comes_from(clara: Client, own: services.Shared, clinic_a: Clinic) -> None:
    assert pass_on(clara, own, lifetime_days="30").status_code == 400, "not offered"
    pass_on(clara, own, lifetime_days="7" if own.share.link.expires_at - timezone.now() > timedelta(days=7) else "3")
    assert child().expires_at < own.share.link.expires_at
    with pytest.raises(LinkRefusedError):
        links.extend(
            Link.objects.select_related("parent", "clinic").get(pk=child().pk), timedelta(days=60),
            context=Context.system("tests"),
        )  # fmt: skip
    with time_machine.travel(own.share.link.expires_at, tick=False):
        assert child().state() == LinkState.EXPIRED


def test_what_is_taken_from_hers_is_taken_from_the_others(
    clara: Client, own: services.Shared, clinic_a: Clinic, study: Study, second_study: Study
) -> None:
    url = address(pass_on(clara, own, may_download="on"))
    house = Client(enforce_csrf_checks=True)
    submit(house, url)
    home = f"/v/{child().public_id}/"
    assert house.get(f"{home}download/{study.public_id}/").status_code == 200
    with clinic_scope(clinic_a):
        own.share.studies.remove(study)
        ShareLink.objects.filter(pk=own.share.pk).update(may_download=False)
    assert house.get(f"{home}studies/{study.public_id}/").status_code == 404
    assert house.get(f"{home}studies/{second_study.public_id}/").status_code == 200
    assert house.get(f"{home}download/{second_study.public_id}/").status_code == 404


def test_she_pauses_resumes_and_takes_back_what_she_passed_on(clara: Client, own: services.Shared) -> None:
    pass_on(clara, own)
    reference = child().public_id
    for verb, state in (("pause", "paused"), ("resume", "live"), ("revoke", "revoked")):
        assert act(clara, own, f"links/{reference}/{verb}/").status_code == 302
        assert child().state() == state
    assert clara.get(home_of(own)).status_code == 200
    revoked = AuditEvent.objects.filter(verb="link.revoked")
    assert {event.actor_reference for event in revoked} == {own.share.link.public_id}


def test_she_touches_no_link_that_is_not_hers(
    clara: Client, own: services.Shared, clinic_a: Clinic, alice: User, study: Study
) -> None:
    pass_on(clara, own)
    with clinic_scope(clinic_a):
        other = services.share(principal_for(alice, clinic_a), [study], has_pin=False)
    for reference in (other.share.link.public_id, own.share.link.public_id):
        assert act(clara, own, f"links/{reference}/revoke/").status_code == 404
    assert not Link.objects.exclude(revoked_at=None).exists()


def test_she_ends_hers_and_all_that_came_from_it(clara: Client, own: services.Shared) -> None:
    pass_on(clara, own)
    assert act(clara, own, "end/").status_code == 200
    assert not Link.objects.filter(revoked_at=None).exists()
    assert clara.get(home_of(own)).status_code == 404


def test_the_clinic_sees_what_she_passed_on_and_takes_it_back_SHARE_08(
    as_alice: Client, clara: Client, own: services.Shared
) -> None:
    pass_on(clara, own)
    assert "Dr. House" in as_alice.get(f"/c/alpha/links/{own.share.link.public_id}/").content.decode()
    assert child().public_id in as_alice.get("/c/alpha/links/").content.decode()
    as_alice.post(f"/c/alpha/links/{own.share.link.public_id}/revoke/")
    assert not Link.objects.filter(revoked_at=None).exists()
