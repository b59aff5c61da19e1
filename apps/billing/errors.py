"""What can go wrong with plans and limits."""

from __future__ import annotations

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class BillingError(Exception):
    """Base of billing's errors: a stable code and a plain sentence."""

    code = "billing"
    message: str | Promise = _("Billing reported an error.")

    def __init__(self, message: str | Promise | None = None) -> None:
        if message is not None:
            self.message = message
        super().__init__(self.message)

    def __str__(self) -> str:
        return str(self.message)


class LimitReachedError(BillingError):
    """One more would be more than the plan allows. What is there stays readable."""

    code = "limit-reached"
    message = _("The plan's limit is reached.")


class NoPlanError(BillingError):
    """The installation has no price list at all: nothing can be added."""

    code = "no-plan"
    message = _("There is no plan to choose from. Ask whoever runs this installation to add one.")
