"""The billing page of a clinic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.billing.models import Subscription
from apps.billing.roles import Limit
from apps.billing.services import current_plan, current_subscription, plans_on_offer, usage
from apps.clinics.models import Clinic

Counters = Mapping[Limit, Callable[[Clinic], int]]


@require_safe
def billing(request: HttpRequest, clinic_slug: str, counters: Counters) -> HttpResponse:
    """Show plan, usage and price list. `counters` say what is used; the URL map gives them, billing counts nothing."""
    clinic: Clinic = request.clinic  # type: ignore[attr-defined]
    plan = current_plan(clinic)
    upcoming = Subscription.objects.filter(clinic=clinic, starts_at__gt=timezone.now()).select_related("plan")
    return render(
        request,
        "billing/billing.html",
        {
            "plan": plan,
            "subscription": current_subscription(clinic),
            "upcoming": upcoming.order_by("starts_at").first(),
            "usages": [usage(clinic, limit, count(clinic)) for limit, count in counters.items()],
            "offers": plans_on_offer(plan.locale),
        },
    )
