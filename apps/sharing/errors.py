"""Why something is not shared."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from apps.deidentification.errors import UnreviewedError


class SharingError(Exception):
    """Base: `code` for programs, `message` for people."""

    code = "sharing"
    message = _("This cannot be shared.")

    def __init__(self) -> None:
        super().__init__(str(self.message))


class NotOnePatientError(SharingError):
    """A link was asked for that would mix the studies of several patients, or show none."""

    code = "not-one-patient"
    message = _("One link shows studies of one patient.")


class NotReviewedError(SharingError):
    """An anonymised link was asked for to images that a person has to look at first."""

    code = UnreviewedError.code
    message = UnreviewedError.message


class NoBirthDateError(SharingError):
    """A link was to ask for a date of birth that the headers do not hold."""

    code = "no-birth-date"
    message = _("The patient's date of birth is not known here; choose a PIN instead.")
