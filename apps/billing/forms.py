"""Putting a clinic on another plan."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.billing.models import Plan, Subscription


class PlanChangeForm(forms.ModelForm):  # type: ignore[type-arg]
    """Offers plans that are valid today; empty start means now."""

    class Meta:
        model = Subscription
        fields = ("clinic", "plan", "starts_at")
        help_texts = {"starts_at": _("A smaller plan deletes nothing: it only blocks adding.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plan = self.fields.get("plan")
        if isinstance(plan, forms.ModelChoiceField):
            today = timezone.now().date()
            plan.queryset = Plan.objects.filter(
                Q(valid_until_date=None) | Q(valid_until_date__gte=today), valid_from_date__lte=today
            )
