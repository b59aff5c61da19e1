"""The password policy, and the one way by which a password comes to be.

The practices that use this expect the classic rules. NIST SP 800-63B-4 3.1.1.2 advises against composition and
rotation, so a clinic can switch to passphrases, and paste and long passwords are always allowed (AUTH-10, AUTH-11).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.contrib.auth.hashers import check_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from zxcvbn import zxcvbn

from apps.accounts.models import PasswordHistory, User
from apps.clinics.models import Clinic

MINIMUM_LENGTH: Final = 12
MAXIMUM_LENGTH: Final = 256
PASSPHRASE_LENGTH: Final = 20
HISTORY: Final = 12
MINIMUM_AGE: Final = timedelta(days=1)
MAXIMUM_AGE_DAYS: Final = 180
# Shorter words turn up in random strings by chance.
_WORD_LENGTH: Final = 5
_PERSONAL_LENGTH: Final = 4
_MINIMUM_SCORE: Final = 3
# zxcvbn's time grows with the square of the length.
_EXAMINED_LENGTH: Final = 72

_LEET: Final = str.maketrans(
    {
        "@": "a",
        "4": "a",
        "8": "b",
        "3": "e",
        "6": "g",
        "9": "g",
        "1": "i",
        "!": "i",
        "0": "o",
        "$": "s",
        "5": "s",
        "7": "t",
        "+": "t",
        "2": "z",
        "|": "l",
    }
)


@dataclass(frozen=True)
class PasswordPolicy:
    """What a password has to be. `personal` are texts about the person that must not appear in it."""

    personal: tuple[str, ...] = ()
    is_passphrase_mode: bool = False
    maximum_age_days: int = MAXIMUM_AGE_DAYS

    @sensitive_variables("password")
    def problems(self, password: str) -> list[str]:
        """Return what is wrong with a password, a sentence each; empty when it is good."""
        if len(password) < MINIMUM_LENGTH:
            return [_("Use at least 12 characters.")]
        if len(password) > MAXIMUM_LENGTH:
            return [_("Use at most 256 characters.")]
        is_passphrase = self.is_passphrase_mode and len(password) >= PASSPHRASE_LENGTH
        found = [] if is_passphrase else [*_composition_problems(password)]
        if _contains_personal(password, self.personal):
            found.append(_("Leave out your name, e-mail address, clinic and other things about you."))
        judgement = zxcvbn(password[:_EXAMINED_LENGTH])
        patterns = {match["pattern"] for match in judgement["sequence"] if len(match["token"]) >= _WORD_LENGTH}
        if "dictionary" in patterns and not is_passphrase:
            found.append(_("Leave out words that stand in a dictionary, also spelt backwards or with digits."))
        elif judgement["score"] < _MINIMUM_SCORE or (patterns & {"sequence", "spatial", "date"} and not is_passphrase):
            found.append(_("This password is too easy to guess: leave out rows, repetitions and dates."))
        return found


class PolicyValidator:
    """Lets Django's own password forms ask the same policy."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Raise ValidationError with a sentence for each problem."""
        policy = policy_of(user) if user is not None and user.pk else policy_for("", "", [])
        check_policy(policy, password)

    def get_help_text(self) -> str:
        """Return the policy in a sentence."""
        return help_text(PasswordPolicy())


def help_text(policy: PasswordPolicy) -> str:
    """Return what to expect, for the form."""
    if policy.is_passphrase_mode:
        return _(
            "20 characters or more, for example some words that only you would put together. Shorter ones need 12 "
            "characters with capitals, small letters, digits and special characters, and no dictionary words."
        )
    return _(
        "At least 12 characters with capitals, small letters, digits and special characters; no dictionary words, "
        "nothing about you."
    )


def check_policy(policy: PasswordPolicy, password: str) -> None:
    """Raise ValidationError with a sentence for each problem of the password."""
    found = policy.problems(password)
    if found:
        raise ValidationError([ValidationError(sentence, code="password-policy") for sentence in found])


def policy_for(name: str, email: str, clinics: Iterable[Clinic], *, more: Iterable[str] = ()) -> PasswordPolicy:
    """Return the policy of a person in these clinics: the strictest of theirs.

    `more` are further personal facts where they are known: year of birth, telephone number.
    """
    clinics = list(clinics)
    ages = [clinic.password_max_age_days for clinic in clinics if clinic.password_max_age_days]
    return PasswordPolicy(
        personal=(name, email, *(clinic.name for clinic in clinics), *(clinic.slug for clinic in clinics), *more),
        is_passphrase_mode=bool(clinics) and all(clinic.is_passphrase_mode for clinic in clinics),
        maximum_age_days=min(ages) if ages else (0 if clinics else MAXIMUM_AGE_DAYS),
    )


def policy_of(user: User) -> PasswordPolicy:
    """Return the policy that holds for an existing person."""
    return policy_for(user.name, user.email, Clinic.objects.filter(memberships__user=user))


def random_password() -> str:
    """Return a random password that meets the policy: chance writes a word now and then, so it is tried."""
    while True:
        password = f"{secrets.token_urlsafe(12)}-Aa1"
        if not PasswordPolicy().problems(password):
            return password


@sensitive_variables("password")
def choose_password(user: User, password: str, policy: PasswordPolicy, *, may_be_young: bool = True) -> None:
    """Put a new password on `user` without saving; raises ValidationError when policy, history or age forbid it.

    Hashing takes its time, so this belongs outside a transaction; `save_password` belongs inside. `may_be_young` is
    False where people change their own password: twelve changes in a row would otherwise bring the old one back.
    """
    check_policy(policy, password)
    if not may_be_young and user.password_changed_at and timezone.now() - user.password_changed_at < MINIMUM_AGE:
        raise ValidationError(_("The password was changed within the last day. Try again tomorrow."), code="too-young")
    hashes = [row.password for row in user.password_history.all()[:HISTORY]] if user.pk else []
    if user.password and user.password not in hashes:
        hashes = [user.password, *hashes][:HISTORY]
    if any(check_password(password, encoded) for encoded in hashes):
        raise ValidationError(_("This is one of your last 12 passwords. Choose another one."), code="used-before")
    user.set_password(password)
    user.password_changed_at = timezone.now()


def save_password(user: User) -> None:
    """Save a user whose password was chosen, and remember the password's hash."""
    with transaction.atomic():
        user.save()
        PasswordHistory.objects.create(user=user, password=user.password)
        kept = user.password_history.values_list("pk", flat=True)[:HISTORY]
        user.password_history.exclude(pk__in=list(kept)).delete()


def is_too_old(user: User) -> bool:
    """Return whether the person has to choose a new password now (AUTH-11)."""
    days = policy_of(user).maximum_age_days
    if not days or user.password_changed_at is None:
        return False
    return timezone.now() - user.password_changed_at > timedelta(days=days)


def _composition_problems(password: str) -> Iterable[str]:
    if not any(letter.isupper() for letter in password):
        yield _("Use at least one capital letter.")
    if not any(letter.islower() for letter in password):
        yield _("Use at least one small letter.")
    if not any(letter.isdigit() for letter in password):
        yield _("Use at least one digit.")
    if all(letter.isalnum() for letter in password):
        yield _("Use at least one special character.")


def _contains_personal(password: str, personal: Iterable[str]) -> bool:
    """Return whether a part of the texts stands in the password, also in leet or backwards."""
    plain = password.lower()
    unleeted = plain.translate(_LEET)
    forms = {plain, unleeted, plain[::-1], unleeted[::-1]}
    forms |= {re.sub(r"\W|_", "", form) for form in forms}
    parts = {part for text in personal for part in _parts(text) if len(part) >= _PERSONAL_LENGTH}
    return any(part in form for part in parts for form in forms)


def _parts(text: str) -> set[str]:
    lowered = text.lower()
    parts = set(re.split(r"[\W_]+", lowered))
    parts.add(re.sub(r"[\W_]+", "", lowered))
    digits = re.sub(r"\D", "", lowered)
    if len(digits) > _PERSONAL_LENGTH:
        # Any four neighbouring digits of a telephone number are personal enough.
        parts |= {digits[start : start + 5] for start in range(len(digits) - 4)}
    return parts
