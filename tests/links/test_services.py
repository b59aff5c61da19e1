"""A link holds while it says so, and not a moment or a view longer."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.db import connection
from django.utils import timezone

from apps.access.services import ObjectReference
from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.billing.errors import LimitReachedError
from apps.billing.models import Plan
from apps.billing.services import current_plan
from apps.clinics.models import Clinic
from apps.jobs.services import process_until_idle
from apps.links import services
from apps.links.errors import LinkRefusedError, LinkUnavailableError, TooManyAttemptsError, WrongPinError
from apps.links.models import Link, LinkSession
from apps.links.opening import MAX_REFUSALS_BY_ADDRESS, SESSION_IDLE
from apps.links.tokens import hash_token, make_token

pytestmark = pytest.mark.django_db

STUDY = ObjectReference("study", "S" * 22, patient_reference="P" * 22, study_reference="S" * 22)


def visitor(address: str = "192.0.2.7") -> Context:
    return Context(actor_kind="anonymous", remote_addr=address, user_agent="Safari on a phone")


def member(user: User) -> Context:
    return Context(actor_kind="user", actor_reference=user.public_id, user_id=user.pk)


def make(
    clinic: Clinic,
    user: User,
    *,
    kind: str = "share",
    covers: Iterable[ObjectReference] = (STUDY,),
    lifetime: timedelta = services.DEFAULT_LIFETIME,
    has_pin: bool = False,
    max_views: int | None = None,
) -> services.NewLink:
    return services.create(
        clinic,
        kind,
        created_by=user,
        context=member(user),
        covers=covers,
        lifetime=lifetime,
        has_pin=has_pin,
        max_views=max_views,
    )


def open_link(made: services.NewLink, pin: str = "", address: str = "192.0.2.7") -> services.OpenedLink:
    return services.redeem(made.token, pin, "share", context=visitor(address))


def wrong_pin(made: services.NewLink) -> str:
    return "000000" if made.pin != "000000" else "111111"


def test_only_hashes_are_kept_SHARE_01(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, has_pin=True)
    opened = open_link(made, made.pin)
    columns = str(list(Link.objects.values())) + str(list(LinkSession.objects.values()))
    for secret in (made.token, made.pin, opened.secret):
        assert secret not in columns
    assert bytes(Link.objects.get().token_sha256) == hash_token(made.token)


def test_tokens_are_256_random_bits_SHARE_01() -> None:
    tokens = {make_token() for _ in range(10_000)}
    assert len(tokens) == 10_000
    assert {len(token) for token in tokens} == {43}


def test_expiry_is_mandatory_and_at_most_90_days_SHARE_02(clinic_a: Clinic, alice: User) -> None:
    assert make(clinic_a, alice).link.expires_at - timezone.now() <= timedelta(days=7)
    for lifetime in (timedelta(0), timedelta(seconds=-1), timedelta(days=90, seconds=1)):
        with pytest.raises(LinkRefusedError):
            make(clinic_a, alice, lifetime=lifetime)
    assert Link.objects.count() == 1


def test_an_expired_link_neither_opens_nor_goes_on_showing_SHARE_02(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, lifetime=timedelta(minutes=10))
    opened = open_link(made)
    services.resolve(made.link.public_id, opened.secret, "share")
    with time_machine.travel(made.link.expires_at, tick=False):
        with pytest.raises(LinkUnavailableError):
            services.resolve(made.link.public_id, opened.secret, "share")
        with pytest.raises(LinkUnavailableError):
            open_link(made)


def test_revocation_works_on_the_next_request_SHARE_03(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice)
    opened = open_link(made)
    services.revoke(made.link, context=member(alice), covers=[STUDY])
    with pytest.raises(LinkUnavailableError):
        services.resolve(made.link.public_id, opened.secret, "share")
    with pytest.raises(LinkUnavailableError):
        open_link(made)
    assert AuditEvent.objects.get(verb="link.revoked").study_reference == STUDY.study_reference


def test_revoking_twice_is_recorded_once(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice)
    for _ in range(2):
        services.revoke(made.link, context=member(alice))
    assert AuditEvent.objects.filter(verb="link.revoked").count() == 1


def test_a_closed_clinic_closes_its_links(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice)
    opened = open_link(made)
    clinic_a.suspended_at = timezone.now()
    clinic_a.save()
    with pytest.raises(LinkUnavailableError):
        services.resolve(made.link.public_id, opened.secret, "share")
    with pytest.raises(LinkUnavailableError):
        open_link(made)


def test_views_are_limited_and_only_opening_counts_SHARE_07_SHARE_09(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, max_views=2)
    for _ in range(12):
        services.find(made.token, "share", context=visitor())
    first, second = open_link(made), open_link(made)
    with pytest.raises(LinkUnavailableError):
        open_link(made)
    assert Link.objects.get().view_count == 2
    # Who opened it in time goes on looking.
    services.resolve(made.link.public_id, first.secret, "share")
    services.resolve(made.link.public_id, second.secret, "share")


def test_a_token_of_one_kind_opens_nothing_of_another(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, kind="upload")
    with pytest.raises(LinkUnavailableError):
        open_link(made)


def test_the_cookie_of_one_link_opens_no_other(clinic_a: Clinic, alice: User) -> None:
    one, other = make(clinic_a, alice), make(clinic_a, alice)
    with pytest.raises(LinkUnavailableError):
        services.resolve(other.link.public_id, open_link(one).secret, "share")


def test_a_session_ends_when_idle_and_when_old(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        opened = open_link(made)
        for _ in range(19):
            clock.shift(timedelta(minutes=25))
            services.resolve(made.link.public_id, opened.secret, "share")
        clock.shift(timedelta(minutes=5))
        with pytest.raises(LinkUnavailableError):
            services.resolve(made.link.public_id, opened.secret, "share")
        again = open_link(made)
        clock.shift(SESSION_IDLE)
        with pytest.raises(LinkUnavailableError):
            services.resolve(made.link.public_id, again.secret, "share")


def test_closing_ends_one_session_and_leaves_the_link(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice)
    here, there = open_link(made), open_link(made)
    services.close(made.link.public_id, here.secret, "share")
    with pytest.raises(LinkUnavailableError):
        services.resolve(made.link.public_id, here.secret, "share")
    services.resolve(made.link.public_id, there.secret, "share")


def test_the_right_pin_opens_and_the_wrong_does_not_SHARE_04(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, has_pin=True)
    for pin in ("", wrong_pin(made)):
        with pytest.raises(WrongPinError):
            open_link(made, pin)
    assert Link.objects.get().view_count == 0
    open_link(made, f"{made.pin[:3]} {made.pin[3:]}")
    assert Link.objects.get().failed_attempts == 2


def test_five_wrong_pins_from_one_address_make_it_wait_and_nobody_else_AUTH_07(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, has_pin=True)
    with time_machine.travel(timezone.now(), tick=False) as clock:
        for _ in range(5):
            with pytest.raises(WrongPinError):
                open_link(made, wrong_pin(made), "198.51.100.1")
        with pytest.raises(TooManyAttemptsError) as refused:
            open_link(made, made.pin, "198.51.100.1")
        assert 0 < refused.value.retry_after_seconds <= 901
        open_link(made, made.pin, "203.0.113.9")
        clock.shift(services.ATTEMPT_WINDOW)
        open_link(made, made.pin, "198.51.100.1")


@pytest.mark.django_db(transaction=True)
def test_twenty_wrong_pins_freeze_the_link_and_tell_its_maker_AUTH_07(clinic_a: Clinic, alice: User, bob: User) -> None:
    made = make(clinic_a, bob, has_pin=True)
    for guess in range(19):
        with pytest.raises(WrongPinError):
            open_link(made, wrong_pin(made), f"198.51.100.{guess}")
    with pytest.raises(LinkUnavailableError):
        open_link(made, wrong_pin(made), "198.51.100.200")
    with pytest.raises(LinkUnavailableError):
        open_link(made, made.pin)
    process_until_idle()
    assert sorted(message.to[0] for message in mail.outbox) == [alice.email, bob.email]
    assert made.token not in str([message.body for message in mail.outbox])


@pytest.mark.parametrize("reason", ["unknown", "expired", "revoked", "frozen", "exhausted", "suspended"])
def test_dead_links_are_all_alike_outside_and_told_apart_in_the_trail_SHARE_14(
    clinic_a: Clinic, alice: User, reason: str, django_assert_num_queries
) -> None:
    made = make(clinic_a, alice, max_views=1)
    token = make_token() if reason == "unknown" else made.token
    now = timezone.now()
    changes = {
        "expired": {"expires_at": now},
        "revoked": {"revoked_at": now},
        "frozen": {"frozen_at": now},
        "exhausted": {"view_count": 1},
    }
    Link.objects.update(**changes.get(reason, {"failed_attempts": 0}))
    if reason == "suspended":
        Clinic.objects.filter(pk=clinic_a.pk).update(suspended_at=now)
    with django_assert_num_queries(6), pytest.raises(LinkUnavailableError) as refused:
        services.redeem(token, "", "share", context=visitor())
    assert str(refused.value) == str(LinkUnavailableError())
    event = AuditEvent.objects.get(verb="link.refused")
    assert event.additional_data["reason"] == reason
    assert event.clinic_id == (None if reason == "unknown" else clinic_a.pk)


def test_a_flood_of_tokens_fills_no_table_SHARE_14(clinic_a: Clinic, alice: User) -> None:
    for _ in range(MAX_REFUSALS_BY_ADDRESS + 5):
        with pytest.raises(LinkUnavailableError):
            services.find(make_token(), "share", context=visitor())
    refusals = AuditEvent.objects.filter(verb="link.refused")
    assert refusals.count() == MAX_REFUSALS_BY_ADDRESS
    assert refusals.filter(additional_data__code="too-many-tokens").count() == 1


def test_the_plan_limits_live_links_and_dead_ones_do_not_count(clinic_a: Clinic, alice: User) -> None:
    Plan.objects.filter(pk=current_plan(clinic_a).pk).update(links=1)
    made = make(clinic_a, alice)
    with pytest.raises(LimitReachedError):
        make(clinic_a, alice)
    services.revoke(made.link, context=member(alice))
    make(clinic_a, alice)


def test_every_studys_trail_names_the_link(clinic_a: Clinic, alice: User) -> None:
    other = ObjectReference("study", "T" * 22, patient_reference="P" * 22, study_reference="T" * 22)
    made = make(clinic_a, alice, covers=[STUDY, other], has_pin=True, max_views=3)
    events = AuditEvent.objects.filter(verb="link.created", object_reference=made.link.public_id)
    assert {event.study_reference for event in events} == {STUDY.study_reference, other.study_reference}
    opened = open_link(made, made.pin)
    event = AuditEvent.objects.get(verb="link.opened")
    assert (event.actor_kind, event.actor_reference, event.remote_addr) == ("link", made.link.public_id, "192.0.2.7")
    everything = str(list(AuditEvent.objects.values()))
    for secret in (made.token, made.pin, opened.secret):
        assert secret not in everything


def test_stale_sessions_and_attempts_go_and_links_stay(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, has_pin=True)
    with pytest.raises(WrongPinError):
        open_link(made, wrong_pin(made))
    open_link(made, made.pin)
    assert services.delete_stale() == 0
    with time_machine.travel(timezone.now() + timedelta(days=2), tick=False):
        assert services.delete_stale() == 2
    assert Link.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_parallel_opens_never_exceed_the_limit_SHARE_07(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, max_views=3)

    def attempt(_number: int) -> bool:
        try:
            open_link(made)
        except LinkUnavailableError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(attempt, range(200)))
    assert sum(outcomes) == 3
    assert Link.objects.get().view_count == LinkSession.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_guessing_in_parallel_gains_nothing_AUTH_07(clinic_a: Clinic, alice: User) -> None:
    made = make(clinic_a, alice, has_pin=True)

    def guess(_number: int) -> str:
        try:
            open_link(made, wrong_pin(made))
        except (WrongPinError, TooManyAttemptsError) as error:
            return error.code
        finally:
            connection.close()
        return "opened"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(guess, range(16)))
    assert outcomes.count("wrong-pin") == services.MAX_ATTEMPTS_BY_ADDRESS
    assert outcomes.count("too-many-attempts") == 16 - services.MAX_ATTEMPTS_BY_ADDRESS
