"""The door of the billing room: which plan a clinic has, and whether it may have one more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.audit.services import Context, record
from apps.billing.errors import BillingError, LimitReachedError, NoPlanError
from apps.billing.models import Plan, Subscription
from apps.billing.roles import Limit
from apps.billing.sizes import decimal_size
from apps.clinics.models import Clinic

__all__ = [
    "BillingError",
    "Limit",
    "LimitReachedError",
    "Usage",
    "change_plan",
    "current_plan",
    "current_subscription",
    "plans_on_offer",
    "reserve",
    "subscribe_default",
    "usage",
]

NEARLY_FULL_PERCENT = 80
DEFAULT_LOCALE = "en"


@dataclass(frozen=True)
class Usage:
    """How much of one limit is used. `allowed` None: no limit. Counts are bytes for storage, else pieces."""

    limit: Limit
    used: int
    allowed: int | None

    @property
    def percent(self) -> int:
        """The share that is used, 0 to 100; 100 as soon as nothing more fits."""
        if self.allowed is None:
            return 0
        return 100 if self.used >= self.allowed else self.used * 100 // self.allowed

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits."""
        return self.allowed is not None and self.used >= self.allowed

    @property
    def is_nearly_full(self) -> bool:
        """Whether it is time to think of a larger plan."""
        return self.percent >= NEARLY_FULL_PERCENT

    @property
    def used_text(self) -> str:
        """What is used, in words of the reader's language."""
        return _in_words(self.limit, self.used)

    @property
    def allowed_text(self) -> str:
        """What the plan allows, in words of the reader's language."""
        return _("unlimited") if self.allowed is None else _in_words(self.limit, self.allowed)


def current_subscription(clinic: Clinic) -> Subscription | None:
    """Return the clinic's subscription in force: the newest that has begun. None when it never had one."""
    begun = Subscription.objects.filter(clinic=clinic, starts_at__lte=timezone.now()).select_related("plan")
    return begun.order_by("-starts_at", "-pk").first()


def current_plan(clinic: Clinic) -> Plan:
    """Return the plan in force, the default of the clinic's price list when it never chose one; raises NoPlanError."""
    subscription = current_subscription(clinic)
    return subscription.plan if subscription else _default_plan(clinic.locale)


def plans_on_offer(locale: str) -> list[Plan]:
    """Return the price list of a language that is valid today, cheapest first; the English one when it has none."""
    today = timezone.now().date()
    valid = Plan.objects.filter(Q(valid_until_date=None) | Q(valid_until_date__gte=today), valid_from_date__lte=today)
    for wanted in (locale.split("-", maxsplit=1)[0].lower(), DEFAULT_LOCALE):
        newest = {plan.code: plan for plan in valid.filter(locale=wanted).order_by("valid_from_date")}
        if newest:
            return sorted(newest.values(), key=lambda plan: (plan.monthly_price, plan.storage_bytes))
    return []


def subscribe_default(clinic: Clinic, locale: str) -> Subscription:
    """Give a new clinic the default plan of the price list in its language; raises NoPlanError."""
    return Subscription.objects.create(clinic=clinic, plan=_default_plan(locale))


def change_plan(clinic: Clinic, plan: Plan, *, context: Context, starts_at: datetime | None = None) -> Subscription:
    """Put the clinic on another plan from `starts_at` (now without it) and record who did it.

    Nothing is deleted or hidden when the new plan is smaller: it only blocks adding.
    """
    with transaction.atomic():
        _lock(clinic)
        previous = current_plan(clinic)
        subscription = Subscription.objects.create(clinic=clinic, plan=plan, starts_at=starts_at or timezone.now())
        record(
            "plan.changed",
            context=context,
            clinic_id=clinic.pk,
            object_kind="clinic",
            object_reference=clinic.public_id,
            details={
                "plan": plan.code,
                "previous_plan": previous.code,
                "starts_at": subscription.starts_at.isoformat(timespec="seconds"),
            },
        )
    return subscription


def usage(clinic: Clinic, limit: Limit, used: int) -> Usage:
    """Return how much of a limit is used, for `billing/_usage.html`."""
    return Usage(limit=limit, used=used, allowed=_allowed(current_plan(clinic), limit))


def reserve(
    clinic: Clinic, limit: Limit, amount: int, *, used: Callable[[], int], at_most: Callable[[], int] | None = None
) -> Usage:
    """Check that `amount` more fits, holding a lock until the caller's transaction ends; return the usage with it.

    The caller writes what it reserved in the same transaction, so that of two that race for the last place one sees the
    other's row. `used` counts under the lock; `at_most` too, cheaper and rather too much: where even that leaves room,
    nothing is counted exactly. On PostgreSQL the clinic's row is locked, on SQLite the transaction
    itself is the lock (IMMEDIATE). Raises LimitReachedError when it does not fit, TransactionManagementError when the
    caller has no transaction open.
    """
    _lock(clinic)
    plan = current_plan(clinic)
    allowed = _allowed(plan, limit)
    for count in (at_most, used) if at_most else (used,):
        wanted = count() + amount
        if allowed is None or amount <= 0 or wanted <= allowed:
            return Usage(limit=limit, used=wanted, allowed=allowed)
    raise LimitReachedError(
        str(_REACHED[limit]) % {"plan": plan.name, "allowed": _in_words(limit, allowed or 0)},
    )


_REACHED = {
    Limit.STORAGE_BYTES: gettext_lazy(
        "The storage of the plan %(plan)s (%(allowed)s) is used up. All studies stay readable; "
        "a larger plan makes room for more."
    ),
    Limit.SEATS: gettext_lazy("All %(allowed)s seats of the plan %(plan)s are taken. A larger plan has more."),
    Limit.LINKS: gettext_lazy("The plan %(plan)s allows %(allowed)s live links. Revoke one, or choose a larger plan."),
}


def _lock(clinic: Clinic) -> None:
    # The clinic's row rather than the subscription's: a plan change adds a subscription, and both must meet at one
    # lock. no_key: rows that refer to the clinic may be written meanwhile.
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        raise TransactionManagementError("A limit is reserved inside the transaction that uses it.")
    if connection.features.has_select_for_update:
        Clinic.objects.select_for_update(no_key=True).only("pk").get(pk=clinic.pk)


def _default_plan(locale: str) -> Plan:
    plans = plans_on_offer(locale)
    if not plans:
        raise NoPlanError
    return next((plan for plan in plans if plan.is_default), plans[0])


def _allowed(plan: Plan, limit: Limit) -> int | None:
    allowed: int | None = getattr(plan, limit.value)
    return allowed


def _in_words(limit: Limit, number: int) -> str:
    return decimal_size(number) if limit is Limit.STORAGE_BYTES else str(number)
