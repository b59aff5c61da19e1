"""What can go wrong with the trail."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class AuditError(Exception):
    """Base of the trail's errors: a stable code and a plain sentence."""

    code = "audit"
    message: str | Promise = _("The audit trail reported an error.")

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else str(self.message)


class AuditUnavailableError(AuditError):
    """The record could not be written; whoever asked must not get a byte (middleware: 503)."""

    code = "audit-unavailable"
    message = _("This cannot be done at the moment, because it could not be recorded. Please try again.")


class EventRefusedError(AuditError, ValueError):
    """A record outside the allow-list: an unknown detail, free text where a code belongs. A mistake in our code."""

    code = "event-refused"
    message = _("This is not something the trail records.")
