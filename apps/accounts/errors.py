"""What can go wrong with accounts, said plainly."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class AccountError(Exception):
    """Base of the people room's errors: a stable code and a plain sentence."""

    code = "account"
    message: str | Promise = _("This cannot be done with this account.")

    def __str__(self) -> str:
        return str(self.message)


class TooManyAttemptsError(AccountError):
    """Guessing is slowed down; `retry_after_seconds` says for how long."""

    code = "too-many-attempts"
    message = _("There were too many failed attempts. Wait a while, then try again.")

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class InvitationInvalidError(AccountError):
    """The one-time address is unknown, used, withdrawn or too old."""

    code = "invitation-invalid"
    message = _("This invitation has been used, was withdrawn or has expired. Ask for a new one.")


class AlreadyMemberError(AccountError):
    """The person has a place in this clinic already."""

    code = "already-member"
    message = _("This person is a member of the clinic already.")


class LastOwnerError(AccountError):
    """A clinic always keeps an owner."""

    code = "last-owner"
    message = _("A clinic needs at least one owner. Make somebody else an owner first.")


class WrongCodeError(AccountError):
    """The second factor was not right, or was used before."""

    code = "wrong-code"
    message = _("This code is not right, or it was used before. Wait for the next one and try again.")


class LastFactorError(AccountError):
    """The second factor is mandatory, so the last authenticator stays."""

    code = "last-factor"
    message = _("This is your only authenticator. Add another one first.")
