"""The password policy, at every way by which a password comes to be."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from apps.accounts import resets
from apps.accounts.hashers import BoundedArgon2PasswordHasher
from apps.accounts.invitations import invite
from apps.accounts.models import PasswordHistory, User
from apps.accounts.passwords import PasswordPolicy, choose_password, policy_for, random_password, save_password
from apps.accounts.roles import Role
from apps.accounts.services import create_user
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from tests.accounts.test_signin import sign_in, verify
from tests.conftest import PASSWORD, signed_in

GOOD = "vK8$wq!Zp3Lm-Rt9"
PERSONAL = ("Anna Vogelsang", "anna.vogelsang@praxis-nord.example", "Praxis Nord", "1974", "+49 171 5550123")
POLICY = PasswordPolicy(personal=PERSONAL)

REFUSED = [
    # too short, or of too few kinds
    *("", "a", "Aa1!", "vK8$wq!Zp3L", "12345678901", "Short1!aB"),
    *(
        "alllowercase-99!",
        "ALLUPPERCASE-99!",
        "NoDigitsAtAll!?xQ",
        "N0specialsAtAllxQ7",
        "vk8wqzp3lmrt9xyz",
        "VK8WQZP3LMRT9XYZ",
    ),
    *("                ", "0000000000000000", "!!!!!!!!!!!!!!!!", "aaaaaaaaaaaaaaaA1!"),
    # dictionary words and well-known passwords, plain, in leet, backwards, with years
    *("Password-2024!x", "P@ssw0rd!-2024", "Pa55word!!1234", "drowssaP!2024xQ", "dr0wss@P!2024Q1"),
    *("Monkey!!12345xQ", "M0nkey#22kT9$wq", "yeknoM#22kT9$wq", "Dragon$77kT9-wq", "Sunshine!1kT9$", "5unsh1ne!1kT9$W"),
    *("Football#12kT9", "Llabtoof#12kT9", "Qwertyuiop!23X", "Qwertzuiop!23Xa", "1Qaz2wsx!3edcR", "Letmein!!12345Q"),
    *("Welcome!2024xQw", "W3lcome!2024xQw", "Trustno1!!xQw7", "Iloveyou!2024xQ", "Princess#99kT9w", "Starwars!77kT9w"),
    *(
        "Master$$77kT9wq",
        "Shadow!!77kT9wq",
        "Superman#77kT9w",
        "Charlie!77kT9wq",
        "Michael!77kT9wq",
        "Correct-Horse-7-Battery",
    ),
    *("Computer!77kT9w", "Hospital!77kT9w", "Doctor!!77kT9wq", "Radiology77!kT9", "Summer!!77kT9wq", "remmuS!!77kT9wq"),
    # sequences and repeats
    *("Abcdefgh1234!", "Aaaaaaaaaaa1!", "Aa1!Aa1!Aa1!", "1234567890aA!"),
    # personal data: name, e-mail, clinic, year of birth, telephone; leet and backwards too
    *("kT9$-Vogelsang-wq", "kT9$-v0gelsang-Wq", "kT9$-gnaslegoV-wq", "kT9$-Anna-wqZp3L", "kT9$-annA-wqZp3L"),
    *("kT9$-praxis-wqZp3", "kT9$-Pr4xi5-wqZp3", "kT9$-nord-wqZp3Lm", "kT9$-dron-wqZp3Lm", "kT9$wqZp-1974-Lm"),
    *("kT9$wqZp-4791-Lm", "kT9$5550123wqZpL", "kT9$-17155-wqZpL"),
]
ACCEPTED = [
    GOOD,
    "Zt7#qmW2-xkR9",
    "hG4!vTz8&pLq",
    "x9$Kd wQ7 !mZt3",
    "Ü7ß!kTq9-wZp",
    "b" + "9$Kd!wQ7mZt3xRvL" * 4,
]


@pytest.mark.parametrize("password", REFUSED)
def test_weak_password_is_refused_AUTH_10(password: str):
    assert POLICY.problems(password)


@pytest.mark.parametrize("password", ACCEPTED)
def test_strong_password_is_accepted_AUTH_10(password: str):
    assert POLICY.problems(password) == []


def test_the_table_is_long_enough_AUTH_10():
    assert len(REFUSED) + len(ACCEPTED) >= 60


def test_passphrases_waive_composition_where_the_clinic_says_so_AUTH_10():
    phrase = "quiet marble otters juggle lanterns"
    strict, relaxed = PasswordPolicy(), PasswordPolicy(is_passphrase_mode=True)
    assert strict.problems(phrase)
    assert relaxed.problems(phrase) == []
    assert relaxed.problems("marble otters"), "short ones keep the classic rules"
    assert relaxed.problems("aaaaaaaaaaaaaaaaaaaaaaaa"), "length alone is not enough"
    assert PasswordPolicy(("Otto Marble",), is_passphrase_mode=True).problems(phrase)


def test_the_strictest_of_a_persons_clinics_holds_AUTH_10(clinic_a: Clinic, clinic_b: Clinic):
    clinic_a.is_passphrase_mode, clinic_a.password_max_age_days = True, 0
    assert policy_for("x", "x@y.example", [clinic_a]).is_passphrase_mode
    assert policy_for("x", "x@y.example", [clinic_a]).maximum_age_days == 0
    both = policy_for("x", "x@y.example", [clinic_a, clinic_b])
    assert not both.is_passphrase_mode
    assert both.maximum_age_days == 180


def test_random_passwords_meet_the_policy():
    assert all(PasswordPolicy().problems(random_password()) == [] for _ in range(50))


WEAK = ["Short1!aB", "alllowercase-99!", "P@ssw0rd!-2024", "Alpha!kT9$wqZp3L"]


@pytest.mark.parametrize("password", WEAK)
class TestEveryEntryPointAUTH10:
    """AUTH-10: invitation, change, reset, creation by a program, Django's own validators; admin has no field at all."""

    def test_invitation(self, clinic_a: Clinic, client: Client, password: str):
        with clinic_scope(clinic_a):
            url = invite(clinic_a, "nina@alpha.example", Role.PHYSICIAN, context=Context.system("test"))
        path = url.removeprefix("http://testserver")
        answer = client.post(path, {"name": "Nina", "password": password, "repeated": password})
        assert answer.status_code == 422
        assert not User.objects.exists()

    def test_change(self, alice: User, password: str):
        User.objects.update(password_changed_at=timezone.now() - timedelta(days=2))
        form = {"current": PASSWORD, "password": password, "repeated": password}
        assert signed_in(alice).post("/account/password/", form).status_code == 422
        assert User.objects.get().check_password(PASSWORD)

    def test_reset(self, alice: User, client: Client, password: str):
        token = resets.default_token_generator.make_token(alice)
        path = f"/password/reset/{alice.public_id}/{token}/"
        assert client.post(path, {"password": password, "repeated": password}).status_code == 422
        assert User.objects.get().check_password(PASSWORD)

    def test_program(self, db: None, password: str):
        with pytest.raises(ValidationError):
            create_user("alpha@alpha.example", "Alpha", password)
        assert not User.objects.exists()

    def test_validators(self, alice: User, password: str):
        with pytest.raises(ValidationError):
            validate_password(password, alice)


def test_admin_offers_no_password_field_AUTH_10(as_platform_admin: Client, alice: User):
    page = as_platform_admin.get(f"/admin/accounts/user/{alice.pk}/change/")
    assert page.status_code == 200
    assert b'type="password"' not in page.content
    assert as_platform_admin.get(f"/admin/accounts/user/{alice.pk}/password/").status_code in {302, 404}
    answer = as_platform_admin.post("/admin/password_change/", {"new_password1": "x", "new_password2": "x"})
    assert answer.status_code == 302
    assert answer.url == "/account/password/"


def change(client: Client, password: str, current: str = PASSWORD):
    return client.post("/account/password/", {"current": current, "password": password, "repeated": password})


def test_changing_keeps_this_session_and_ends_the_others(as_alice: Client, alice: User):
    User.objects.update(password_changed_at=timezone.now() - timedelta(days=2))
    other = signed_in(alice)
    key = as_alice.cookies["session"].value
    assert change(as_alice, GOOD).status_code == 302
    assert as_alice.cookies["session"].value != key
    assert as_alice.get("/account/sessions/").status_code == 200
    assert other.get("/account/sessions/").status_code == 302
    assert User.objects.get().check_password(GOOD)


def test_changing_needs_the_present_password(as_alice: Client):
    User.objects.update(password_changed_at=timezone.now() - timedelta(days=2))
    assert change(as_alice, GOOD, current="wrong").status_code == 422


def test_a_password_lives_a_day_at_least_AUTH_11(as_alice: Client, alice: User):
    assert change(as_alice, GOOD).status_code == 422
    with time_machine.travel(timezone.now() + timedelta(days=1, minutes=1)):
        assert change(signed_in(alice), GOOD).status_code == 302


def test_the_last_twelve_do_not_come_back_AUTH_11(alice: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BoundedArgon2PasswordHasher, "time_cost", 1)
    monkeypatch.setattr(BoundedArgon2PasswordHasher, "memory_cost", 64)
    old = [f"vK8$wq!Zp3Lm-{number:02}x" for number in range(13)]
    for password in old:
        choose_password(alice, password, PasswordPolicy())
        save_password(alice)
    assert PasswordHistory.objects.filter(user=alice).count() == 12
    for password in old[1:]:
        with pytest.raises(ValidationError, match="last 12"):
            choose_password(alice, password, PasswordPolicy())
    choose_password(alice, old[0], PasswordPolicy())


def test_an_old_password_has_to_be_changed_first_AUTH_11(alice: User, client: Client):
    User.objects.update(password_changed_at=timezone.now() - timedelta(days=181))
    sign_in(client, alice.email)
    verify(client, alice)
    assert client.get("/c/alpha/members/").url == "/account/password/"
    assert change(client, GOOD).status_code == 302
    assert client.get("/c/alpha/members/").status_code == 200


def test_resetting_does_not_pass_the_second_factor_AUTH_02(alice: User, client: Client):
    browser = signed_in(alice)
    alice.refresh_from_db()
    token = resets.default_token_generator.make_token(alice)
    path = f"/password/reset/{alice.public_id}/{token}/"
    answer = client.post(path, {"password": GOOD, "repeated": GOOD})
    assert answer.url == "/sign-in/?reason=reset"
    assert "session" not in client.cookies
    assert browser.get("/account/sessions/").status_code == 302, "all sessions ended"
    assert client.get(path).status_code == 404, "works once"
    client.post("/sign-in/", {"email": alice.email, "password": GOOD})
    assert client.get("/c/alpha/members/").url.startswith("/sign-in/code/")


def test_a_reset_address_is_good_for_an_hour(alice: User, client: Client):
    token = resets.default_token_generator.make_token(alice)
    path = f"/password/reset/{alice.public_id}/{token}/"
    with time_machine.travel(timezone.now() + timedelta(minutes=59)):
        assert client.get(path).status_code == 200
    with time_machine.travel(timezone.now() + timedelta(minutes=61)):
        assert client.get(path).status_code == 404
    assert client.get(f"/password/reset/{'A' * 22}/{token}/").status_code == 404


def test_hashes_are_argon2id_and_queue_two_at_a_time_AUTH_12(alice: User, monkeypatch: pytest.MonkeyPatch):
    assert alice.password.startswith("argon2$argon2id$")
    running, most, lock = 0, 0, threading.Lock()
    both_in = threading.Event()

    def slow(self, password: str, salt: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 2:
                both_in.set()
        both_in.wait(5)
        with lock:
            running -= 1
        return "argon2$x"

    monkeypatch.setattr(Argon2PasswordHasher, "encode", slow)
    threads = [threading.Thread(target=BoundedArgon2PasswordHasher().encode, args=("x", "y")) for _number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_old_parameters_are_upgraded_on_sign_in_AUTH_12(alice: User, client: Client, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as weak:
        weak.setattr(BoundedArgon2PasswordHasher, "time_cost", 1)
        alice.set_password(PASSWORD)
        alice.save()
    client.post("/sign-in/", {"email": alice.email, "password": PASSWORD})
    assert "t=2" in User.objects.get().password
