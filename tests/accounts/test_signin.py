"""One way in: password, then second factor; slowed down for those who guess."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import time_machine
from axes.models import AccessAttempt
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.oath import totp

from apps.accounts import throttle
from apps.accounts.models import SignInFailure, User, UserSession
from apps.audit.models import AuditEvent
from apps.jobs.services import process_until_idle
from tests.conftest import PASSWORD, TOTP_SEED

WRONG = "Not-The-Right-1-Entirely"


def code() -> str:
    """The code that the cast's authenticators show now."""
    return f"{totp(TOTP_SEED):06}"


def sign_in(client: Client, email: str, password: str = PASSWORD, **headers: str):
    return client.post("/sign-in/", {"email": email, "password": password}, **headers)


def verify(client: Client, user: User, value: str | None = None):
    device = user.totpdevice_set.get()
    return client.post("/sign-in/code/", {"device": device.public_id, "code": value or code()})


def test_password_then_code_opens_the_clinic(alice: User, client: Client):
    answer = sign_in(client, "  ALICE@Alpha.Example ")
    assert (answer.status_code, answer.url) == (302, reverse("verify"))
    assert client.get("/c/alpha/members/").url.startswith(reverse("verify"))
    answer = verify(client, alice)
    assert (answer.status_code, answer.url) == (302, "/")
    assert client.get("/c/alpha/members/").status_code == 200


def test_every_step_changes_the_session_key_SESS_03(alice: User, client: Client):
    client.get("/sign-in/")
    sign_in(client, alice.email)
    after_password = client.cookies["session"].value
    verify(client, alice)
    after_factor = client.cookies["session"].value
    assert after_password != after_factor
    stolen = Client()
    stolen.cookies["session"] = after_password
    assert stolen.get("/account/sessions/").url.startswith("/sign-in/")


def test_session_keys_are_stored_hashed_SESS_08(alice: User, client: Client):
    sign_in(client, alice.email)
    key = client.cookies["session"].value
    row = UserSession.objects.get()
    assert row.session_key == UserSession.digest_of(key)
    assert key not in str(UserSession.objects.values())


def test_admin_uses_the_same_sign_in_AUTH_02(platform_admin: User, client: Client):
    answer = client.get("/admin/login/", follow=False)
    assert answer.status_code == 302
    assert answer.url.startswith("/sign-in/")
    answer = client.post("/admin/login/", {"username": platform_admin.email, "password": PASSWORD})
    assert answer.status_code == 302
    assert answer.url.startswith("/sign-in/")
    assert not UserSession.objects.filter(user=platform_admin).exists()
    sign_in(client, platform_admin.email)
    assert client.get("/admin/").url.startswith(reverse("verify"))
    verify(client, platform_admin)
    assert client.get("/admin/").status_code == 200


def test_admin_is_not_there_for_members(as_alice: Client):
    assert as_alice.get("/admin/").status_code == 404
    assert as_alice.get("/admin/accounts/user/").status_code == 404


def test_basic_authentication_opens_nothing_AUTH_02(alice: User, client: Client):
    client.credentials = {}
    answer = client.get("/c/alpha/members/", headers={"authorization": "Basic YWxpY2VAYWxwaGEuZXhhbXBsZTp4"})
    assert answer.status_code == 302
    assert answer.url.startswith("/sign-in/")


def test_unknown_address_and_wrong_password_get_the_same_answer_AUTH_13(alice: User, client: Client):
    known, unknown = sign_in(client, alice.email, WRONG), sign_in(client, "nobody@alpha.example", WRONG)
    assert known.status_code == unknown.status_code == 422
    assert same_text(known, "alice") == same_text(unknown, "nobody")


def test_reset_says_the_same_for_known_and_unknown_AUTH_13(alice: User, client: Client):
    known = client.post("/password/reset/", {"email": alice.email})
    unknown = client.post("/password/reset/", {"email": "nobody@alpha.example"})
    assert known.status_code == unknown.status_code == 200
    assert same_text(known, "alice") == same_text(unknown, "nobody")
    process_until_idle()
    assert [letter.to for letter in mail.outbox] == [[alice.email]]


def test_a_mailbox_is_not_filled_by_strangers(alice: User, client: Client):
    for _ in range(3):
        client.post("/password/reset/", {"email": alice.email})
    process_until_idle()
    assert len(mail.outbox) == 1
    for number in range(50):
        answer = client.post("/password/reset/", {"email": f"person{number}@alpha.example"})
    assert answer.status_code == 429


def test_unknown_address_costs_a_hash_too_AUTH_13(alice: User, client: Client, monkeypatch: pytest.MonkeyPatch):
    hashed: list[str] = []
    monkeypatch.setattr(
        "apps.accounts.hashers.BoundedArgon2PasswordHasher.encode",
        lambda self, password, salt: hashed.append(password) or "argon2$x",
    )
    sign_in(client, "nobody@alpha.example", WRONG)
    assert len(hashed) == 1


def same_text(answer, name: str) -> str:
    text = answer.content.decode().replace(name, "somebody")
    return re.sub(r'(name="csrfmiddlewaretoken" value|nonce)="[^"]+"', "", text)


@pytest.fixture
def quick_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing by the hundred: the hash itself is not what is tested."""
    monkeypatch.setattr(
        "apps.accounts.hashers.BoundedArgon2PasswordHasher.verify", lambda self, password, encoded: password == PASSWORD
    )
    monkeypatch.setattr("apps.accounts.hashers.BoundedArgon2PasswordHasher.encode", lambda self, password, salt: "x$x")
    monkeypatch.setattr("apps.accounts.hashers.BoundedArgon2PasswordHasher.must_update", lambda self, encoded: False)


def test_what_was_typed_as_a_name_is_kept_hashed_only(clinic_a, client: Client, quick_hash: None):
    sign_in(client, "secret-typed-as-name", WRONG)
    rows = [*AccessAttempt.objects.values(), *SignInFailure.objects.values()]
    assert len(rows) == 2
    assert "secret-typed-as-name" not in str(rows)


def test_five_failures_lock_this_name_at_this_address_AUTH_07(alice: User, quick_hash: None):
    attacker, doctor = Client(REMOTE_ADDR="203.0.113.9"), Client(REMOTE_ADDR="198.51.100.7")
    answers = [sign_in(attacker, alice.email, WRONG) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [422] * 4 + [429] * 2
    assert int(answers[-1]["Retry-After"]) > 0
    assert "too many" in answers[-1].content.decode()
    assert sign_in(attacker, alice.email).status_code == 429  # the right password is not looked at either
    assert sign_in(doctor, alice.email).status_code == 302
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        assert sign_in(attacker, alice.email).status_code == 302


def test_one_address_never_makes_a_name_wait_elsewhere_AUTH_07(alice: User, quick_hash: None):
    attacker, doctor = Client(REMOTE_ADDR="203.0.113.9"), Client(REMOTE_ADDR="198.51.100.7")
    for round_number in range(4):
        with time_machine.travel(timezone.now() + timedelta(minutes=14 * round_number)):
            for _ in range(40):
                sign_in(attacker, alice.email, WRONG)
            assert sign_in(doctor, alice.email).status_code == 302


def test_many_addresses_are_stopped_by_the_names_own_curve_AUTH_07(alice: User, quick_hash: None):
    attacker, examined = Client(), 0
    # On a slow machine the first waits of a second or two would be over.
    with time_machine.travel(timezone.now(), tick=False):
        for host in range(3 * throttle.USERNAME_FREE):
            for _ in range(2):
                answer = sign_in(attacker, alice.email, WRONG, REMOTE_ADDR=f"203.0.113.{host}")
                examined += answer.status_code == 422
        assert examined <= throttle.USERNAME_FREE + 1
        assert throttle.seconds_to_wait(alice.email, "198.51.100.7") > 0


def test_the_curve_grows_to_five_minutes_and_no_further_AUTH_07(db: None):
    now = timezone.now()
    with time_machine.travel(now, tick=False):
        waits = []
        for number in range(30):
            SignInFailure.objects.create(
                username_sha256=throttle._digest("alice@alpha.example"), remote_addr=f"203.0.113.{number}"
            )
            waits.append(throttle.seconds_to_wait("alice@alpha.example", "198.51.100.7"))
    assert waits[:19] == [0] * 19
    assert waits[19:29] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert waits[29] == 300


def test_an_address_that_fails_with_many_names_has_to_wait_AUTH_07(alice: User, quick_hash: None):
    attacker = Client(REMOTE_ADDR="203.0.113.9")
    codes = [sign_in(attacker, f"person{number}@alpha.example", WRONG).status_code for number in range(52)]
    assert codes == [422] * 50 + [429] * 2
    assert sign_in(Client(REMOTE_ADDR="198.51.100.7"), alice.email).status_code == 302


def test_forged_forwarding_headers_never_change_the_key_AUTH_08(alice: User, quick_hash: None, settings):
    client = Client(REMOTE_ADDR="203.0.113.9")
    for number in range(5):
        answer = client.post(
            "/sign-in/",
            {"email": alice.email, "password": WRONG},
            headers={"x-forwarded-for": f"10.0.0.{number}, 10.1.0.{number}", "x-real-ip": f"10.2.0.{number}"},
        )
    assert answer.status_code == 429


def test_sign_ins_and_failures_are_recorded_AUD_08(alice: User, clinic_a, client: Client):
    sign_in(client, alice.email, WRONG)
    sign_in(client, "secret-typed-as-name", WRONG)
    sign_in(client, alice.email)
    verify(client, alice)
    trail = AuditEvent.objects.filter(object_kind="user").exclude(verb="user.created").order_by("pk")
    assert [(event.verb, event.outcome, event.clinic_id) for event in trail] == [
        ("user.sign_in_failed", "failure", clinic_a.pk),
        ("user.sign_in_failed", "failure", None),
        ("user.password_accepted", "success", clinic_a.pk),
        ("user.signed_in", "success", clinic_a.pk),
    ]
    assert "secret-typed-as-name" not in str(list(trail.values()))


def test_next_leads_only_to_pages_of_ours_WEB_10(alice: User, client: Client):
    for target in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)"):
        client = Client()
        answer = client.post("/sign-in/", {"email": alice.email, "password": PASSWORD, "next": target})
        assert answer.url == reverse("verify")
    client = Client()
    answer = client.post(
        "/sign-in/", {"email": alice.email, "password": PASSWORD, "next": "/c/alpha/members/"}, follow=False
    )
    assert answer.url == f"{reverse('verify')}?next=%2Fc%2Falpha%2Fmembers%2F"


def test_closed_account_cannot_sign_in(alice: User, client: Client):
    alice.is_active = False
    alice.save()
    assert sign_in(client, alice.email).status_code == 422


def test_signing_out_ends_the_session_on_the_server_SESS_04(alice: User, client: Client):
    sign_in(client, alice.email)
    verify(client, alice)
    stolen = Client()
    stolen.cookies["session"] = client.cookies["session"].value
    assert stolen.get("/account/sessions/").status_code == 200
    answer = client.post("/sign-out/")
    assert answer["Clear-Site-Data"] == '"cache", "cookies", "storage"'
    assert stolen.get("/account/sessions/").url.startswith("/sign-in/")
    assert not UserSession.objects.filter(user=alice).exists()


def test_answers_are_never_kept_SESS_04(as_alice: Client):
    for path in ("/account/sessions/", "/c/alpha/members/", "/sign-in/", "/nothing-here/"):
        assert as_alice.get(path)["Cache-Control"] == "no-store"
