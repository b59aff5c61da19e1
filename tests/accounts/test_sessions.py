"""Sessions end: by rest, by age, by their owner; and what a page does by itself keeps none alive."""

from __future__ import annotations

from datetime import timedelta

import time_machine
from django.test import Client
from django.utils import timezone
from django_otp.oath import totp

from apps.accounts.models import Membership, TotpDevice, User, UserSession
from apps.accounts.sessions import SessionStore
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from tests.conftest import PASSWORD, TOTP_SEED, signed_in

PAGE = "/account/sessions/"


def is_open(client: Client, path: str = PAGE, **headers: str) -> bool:
    return client.get(path, headers=headers or None).status_code == 200


def test_fifteen_minutes_of_rest_end_a_session_SESS_02(as_alice: Client):
    now = timezone.now()
    with time_machine.travel(now + timedelta(minutes=14)):
        assert is_open(as_alice)
    with time_machine.travel(now + timedelta(minutes=28)):
        assert is_open(as_alice)
    with time_machine.travel(now + timedelta(minutes=44)):
        answer = as_alice.get(PAGE)
        assert answer.url == "/sign-in/?next=%2Faccount%2Fsessions%2F&reason=idle"
    assert AuditEvent.objects.filter(verb="session.expired").exists()


def test_the_strictest_clinic_says_how_long_SESS_02(as_alice: Client, alice: User, clinic_a: Clinic, clinic_b: Clinic):
    Clinic.objects.filter(pk=clinic_a.pk).update(idle_timeout_minutes=60)
    now = timezone.now()
    with time_machine.travel(now + timedelta(minutes=50)):
        assert is_open(as_alice)
    Clinic.objects.filter(pk=clinic_b.pk).update(idle_timeout_minutes=5)
    Membership.objects.create(user=alice, clinic=clinic_b, role="physician")
    with time_machine.travel(now + timedelta(minutes=56)):
        assert not is_open(as_alice)


def test_polling_is_no_activity_SESS_02(as_alice: Client):
    now = timezone.now()
    for minute in range(1, 15):
        with time_machine.travel(now + timedelta(minutes=minute)):
            assert is_open(as_alice, **{"x-background": "1"})
    with time_machine.travel(now + timedelta(minutes=16)):
        assert not is_open(as_alice, **{"x-background": "1"})


def test_api_requests_are_no_activity_but_a_reported_hand_is_SESS_02(as_alice: Client):
    now = timezone.now()
    with time_machine.travel(now + timedelta(minutes=14)):
        as_alice.get("/c/alpha/dicomweb/studies")
        assert UserSession.objects.get().last_activity_at <= now + timedelta(minutes=1)
        assert as_alice.get("/account/activity/").status_code == 204
    with time_machine.travel(now + timedelta(minutes=20)):
        assert is_open(as_alice)


def test_twelve_hours_end_a_busy_session_SESS_02(as_alice: Client):
    now = timezone.now()
    for step in range(71):
        with time_machine.travel(now + timedelta(minutes=10 * step)):
            assert is_open(as_alice)
    with time_machine.travel(now + timedelta(hours=11, minutes=50)):
        assert is_open(as_alice)
    with time_machine.travel(now + timedelta(hours=12, minutes=1)):
        assert not is_open(as_alice)


def test_platform_admins_rest_ten_minutes_at_most_SESS_02(as_platform_admin: Client):
    now = timezone.now()
    with time_machine.travel(now + timedelta(minutes=9)):
        assert is_open(as_platform_admin)
    with time_machine.travel(now + timedelta(minutes=20)):
        assert not is_open(as_platform_admin)


def test_activity_is_not_a_write_for_every_request(as_alice: Client, django_assert_num_queries):
    with time_machine.travel(timezone.now() + timedelta(minutes=2), tick=False):
        is_open(as_alice)
        before = UserSession.objects.get().last_activity_at
    with time_machine.travel(before + timedelta(seconds=5)):
        is_open(as_alice)
    assert UserSession.objects.get().last_activity_at == before


def test_own_sessions_are_listed_and_ended_SESS_06(as_alice: Client, alice: User, bob: User):
    other, foreign = signed_in(alice), signed_in(bob)
    rows = as_alice.get(PAGE).context["sessions"]
    assert {row.user_id for row in rows} == {alice.pk}
    assert len(rows) == 2
    target = UserSession.objects.get(session_key=UserSession.digest_of(other.cookies["session"].value))
    assert as_alice.post(f"/account/sessions/{target.public_id}/end/").status_code == 302
    assert not is_open(other)
    assert is_open(as_alice)
    bobs = UserSession.objects.get(user=bob)
    assert as_alice.post(f"/account/sessions/{bobs.public_id}/end/").status_code == 404
    assert is_open(foreign)


def test_all_others_end_at_once_SESS_06(as_alice: Client, alice: User):
    others = [signed_in(alice) for _ in range(3)]
    as_alice.post("/account/sessions/end-others/")
    assert [is_open(other) for other in others] == [False] * 3
    assert is_open(as_alice)


def test_a_session_ended_during_a_request_does_not_come_back(alice: User):
    store = SessionStore()
    store["something"] = 1
    store.create()
    store.save()
    UserSession.objects.all().delete()
    again = SessionStore(store.session_key)
    assert again.get("something") is None
    assert not UserSession.objects.exists()


def test_cookies_are_host_bound_when_secure_SESS_01(alice: User):
    """The prefix and the flags follow from PORTAL_BASE_URL; HttpOnly and SameSite hold everywhere."""
    client = Client()
    answer = client.get("/sign-in/")
    for cookie in answer.cookies.values():
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert not cookie["domain"]


def test_an_admins_cookie_follows_no_foreign_link_SESS_01(platform_admin: User, alice: User):
    for person, expected in ((platform_admin, "Strict"), (alice, "Lax")):
        client = Client()
        client.post("/sign-in/", {"email": person.email, "password": PASSWORD})
        device = TotpDevice.objects.get(user=person)
        answer = client.post("/sign-in/code/", {"device": device.public_id, "code": f"{totp(TOTP_SEED):06}"})
        assert answer.cookies["session"]["samesite"] == expected
