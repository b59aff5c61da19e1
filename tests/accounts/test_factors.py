"""The second factor: mandatory, single use, stored so that a stolen database opens nothing."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest
import time_machine
from django.core.serializers import serialize
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_otp.oath import TOTP, totp

from apps.accounts import factors
from apps.accounts.errors import LastFactorError, TooManyAttemptsError, WrongCodeError
from apps.accounts.models import RecoveryCode, RecoveryKit, TotpDevice, User
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from tests.conftest import PASSWORD, TOTP_SEED, make_person

WHO = Context.system("test")


def code_at(when, seed: bytes = TOTP_SEED) -> str:
    clock = TOTP(seed)
    clock.time = when.timestamp()
    return f"{clock.token():06}"


@pytest.fixture
def newcomer(clinic_a: Clinic, password_hash: str) -> User:
    """Has a password and a place, but no second factor yet."""
    user = make_person("nina@alpha.example", "Nina", password_hash, clinic=clinic_a, role="physician")
    TotpDevice.objects.filter(user=user).delete()
    return user


@pytest.fixture
def as_newcomer(newcomer: User, client: Client) -> Client:
    client.post("/sign-in/", {"email": newcomer.email, "password": PASSWORD})
    return client


def test_without_factor_only_enrolment_and_sign_out_are_open_AUTH_01(as_newcomer: Client):
    for path in ("/", "/clinics/", "/account/sessions/", "/account/password/", "/c/alpha/members/", "/admin/"):
        assert as_newcomer.get(path).url.split("?")[0] == reverse("enrol")
    assert as_newcomer.get("/sign-in/enrol/").status_code == 200
    assert as_newcomer.post("/sign-out/").status_code == 302


def test_enrolment_shows_ten_codes_once_and_signs_in(as_newcomer: Client, newcomer: User):
    page = as_newcomer.get("/sign-in/enrol/")
    device = TotpDevice.objects.get(user=newcomer, confirmed=False)
    assert factors.manual_key(device) in page.content.decode()
    picture = as_newcomer.get("/sign-in/enrol/qr.svg")
    assert picture["Content-Type"] == "image/svg+xml"
    assert picture["Cache-Control"] == "no-store"
    answer = as_newcomer.post("/sign-in/enrol/", {"name": "My phone", "code": f"{totp(device.open_seed()):06}"})
    codes = answer.context["codes"]
    assert len(set(codes)) == 10
    assert all(code in answer.content.decode() for code in codes)
    assert as_newcomer.get("/account/sessions/").status_code == 200
    assert not any(code in as_newcomer.get("/account/factors/").content.decode() for code in codes)


def test_a_device_must_be_named_AUTH_03(as_newcomer: Client, newcomer: User):
    as_newcomer.get("/sign-in/enrol/")
    device = TotpDevice.objects.get(user=newcomer)
    answer = as_newcomer.post("/sign-in/enrol/", {"name": "", "code": f"{totp(device.open_seed()):06}"})
    assert answer.status_code == 422
    assert not factors.has_factor(newcomer)


def test_who_has_a_factor_cannot_enrol_another_by_password_alone_AUTH_01(alice: User, client: Client):
    client.post("/sign-in/", {"email": alice.email, "password": PASSWORD})
    assert client.get("/sign-in/enrol/").url.startswith(reverse("verify"))
    assert client.post("/sign-in/enrol/", {"name": "x", "code": "000000"}).url.startswith(reverse("verify"))
    assert client.get("/sign-in/enrol/qr.svg").status_code == 404
    assert TotpDevice.objects.filter(user=alice).count() == 1


def test_losing_all_authenticators_does_not_reopen_enrolment_AUTH_01(alice: User, client: Client):
    factors.make_recovery_codes(alice, context=WHO)
    TotpDevice.objects.filter(user=alice).delete()
    client.post("/sign-in/", {"email": alice.email, "password": PASSWORD})
    assert client.get("/sign-in/enrol/").url.startswith(reverse("verify"))


def test_used_code_is_refused_AUTH_03(alice: User):
    device = TotpDevice.objects.get(user=alice)
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        assert device.verify_token(code_at(now))
        assert not TotpDevice.objects.get(user=alice).verify_token(code_at(now))
        # an older code of the same window is used up with it
        assert not TotpDevice.objects.get(user=alice).verify_token(code_at(now - timedelta(seconds=30)))


@pytest.mark.parametrize(("offset", "is_right"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_one_step_either_way_is_accepted_AUTH_03(alice: User, offset: int, is_right: bool):
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        assert TotpDevice.objects.get(user=alice).verify_token(code_at(now + timedelta(seconds=offset))) is is_right


def test_drift_is_remembered_AUTH_03(alice: User):
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        assert TotpDevice.objects.get(user=alice).verify_token(code_at(now + timedelta(seconds=30)))
        assert TotpDevice.objects.get(user=alice).drift_steps == 1
    later = now + timedelta(minutes=10)
    with time_machine.travel(later, tick=False):
        assert TotpDevice.objects.get(user=alice).verify_token(code_at(later + timedelta(seconds=60)))


def test_two_requests_with_one_code_have_one_winner_AUTH_03(alice: User):
    first, second = TotpDevice.objects.get(user=alice), TotpDevice.objects.get(user=alice)
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        assert [first.verify_token(code_at(now)), second.verify_token(code_at(now))] == [True, False]


def test_wrong_codes_wait_longer_and_longer(alice: User):
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        device = TotpDevice.objects.get(user=alice)
        with pytest.raises(WrongCodeError):
            factors.verify_factor(alice, device.public_id, "000000", context=WHO)
        with pytest.raises(TooManyAttemptsError):
            factors.verify_factor(alice, device.public_id, code_at(now), context=WHO)
    with time_machine.travel(now + timedelta(seconds=2), tick=False):
        assert factors.verify_factor(alice, device.public_id, code_at(timezone.now()), context=WHO) == device


def test_wrong_codes_of_one_device_do_not_count_against_another_AUTH_03(alice: User):
    codes = factors.make_recovery_codes(alice, context=WHO)
    device = TotpDevice.objects.get(user=alice)
    for number in range(10):
        with time_machine.travel(timezone.now() + timedelta(hours=number), tick=False), pytest.raises(WrongCodeError):
            factors.verify_factor(alice, device.public_id, "000000", context=WHO)
    kit = RecoveryKit.objects.get(user=alice)
    assert kit.throttling_failure_count == 0
    assert factors.verify_factor(alice, "recovery", codes[0], context=WHO) == kit


def test_nobody_uses_somebody_elses_device(alice: User, bob: User):
    device = TotpDevice.objects.get(user=bob)
    now = timezone.now()
    with time_machine.travel(now, tick=False), pytest.raises(WrongCodeError):
        factors.verify_factor(alice, device.public_id, code_at(now), context=WHO)


def test_database_holds_neither_seed_nor_code_AUTH_04(alice: User):
    codes = factors.make_recovery_codes(alice, context=WHO)
    rows = [*TotpDevice.objects.all(), *RecoveryKit.objects.all(), *RecoveryCode.objects.all()]
    dump = serialize("json", rows)
    assert TOTP_SEED not in bytes(TotpDevice.objects.get(user=alice).sealed_seed)
    assert not any(code in dump or code.replace("-", "") in dump for code in codes)
    assert len(json.loads(dump)) == 12


def test_a_seed_moved_to_another_person_does_not_open_AUTH_04(alice: User, bob: User):
    TotpDevice.objects.filter(user=bob).update(sealed_seed=TotpDevice.objects.get(user=alice).sealed_seed)
    with pytest.raises(Exception, match=r".+"):
        TotpDevice.objects.get(user=bob).open_seed()


def test_recovery_codes_have_64_bits_and_more_AUTH_04(alice: User):
    code = factors.make_recovery_codes(alice, context=WHO)[0].replace("-", "")
    assert len(factors._ALPHABET) ** len(code) >= 2**64


def test_recovery_code_works_once_in_any_spelling_AUTH_04(alice: User, client: Client):
    codes = factors.make_recovery_codes(alice, context=WHO)
    client.post("/sign-in/", {"email": alice.email, "password": PASSWORD})
    typed = codes[0].upper().replace("-", " ")
    assert client.post("/sign-in/code/", {"device": "recovery", "code": typed}).status_code == 302
    assert client.get("/account/factors/").context["code_count"] == 9
    other = Client()
    other.post("/sign-in/", {"email": alice.email, "password": PASSWORD})
    assert other.post("/sign-in/code/", {"device": "recovery", "code": typed}).status_code == 422
    assert AuditEvent.objects.filter(verb="recovery_code.used").count() == 1


def test_a_code_is_used_up_by_a_single_delete_AUTH_04(alice: User):
    codes = factors.make_recovery_codes(alice, context=WHO)
    kit = RecoveryKit.objects.get(user=alice)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert kit.verify_token(codes[0])
    touching = [query["sql"] for query in queries if "recoverycode" in query["sql"]]
    assert len(touching) == 1
    assert touching[0].startswith("DELETE")


@pytest.mark.django_db(transaction=True)
def test_fifty_uses_at_once_of_one_code_have_one_winner_AUTH_04(alice: User):
    codes = factors.make_recovery_codes(alice, context=WHO)
    wins: list[bool] = []
    barrier = threading.Barrier(50)

    def use() -> None:
        kit = RecoveryKit.objects.get(user=alice)
        barrier.wait()
        try:
            wins.append(kit.verify_token(codes[0]))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=use) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 50
    assert wins.count(True) == 1


def test_new_codes_replace_the_old_ones_after_step_up(as_alice: Client, alice: User):
    old = factors.make_recovery_codes(alice, context=WHO)
    new = as_alice.post("/account/factors/codes/").context["codes"]
    assert not set(old) & set(new)
    with pytest.raises(WrongCodeError):
        factors.verify_factor(alice, "recovery", old[0], context=WHO)


def test_weighty_acts_ask_for_the_factor_again_after_five_minutes(as_alice: Client, alice: User):
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        answer = as_alice.post("/account/factors/codes/")
        assert answer.url.startswith(reverse("verify"))
        device = TotpDevice.objects.get(user=alice)
        as_alice.post("/sign-in/code/", {"device": device.public_id, "code": code_at(timezone.now())})
        assert as_alice.post("/account/factors/codes/").status_code == 200


def test_the_last_authenticator_stays(as_alice: Client, alice: User):
    device = TotpDevice.objects.get(user=alice)
    as_alice.post(f"/account/factors/{device.public_id}/remove/")
    assert TotpDevice.objects.filter(user=alice).exists()
    with pytest.raises(LastFactorError):
        factors.remove_authenticator(device, context=WHO)


def test_a_removed_authenticator_ends_what_it_verified(as_alice: Client, alice: User):
    seed = TotpDevice.seal_seed(alice, b"x" * 20)
    other = TotpDevice.objects.create(user=alice, name="old phone", confirmed=True, sealed_seed=seed)
    first = TotpDevice.objects.exclude(pk=other.pk).get(user=alice)
    as_alice.post(f"/account/factors/{first.public_id}/remove/")
    assert as_alice.get("/account/sessions/").url.startswith(reverse("verify"))
