"""Putting a clinic on another plan."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.billing.models import Plan, Subscription


class PlanChangeForm(forms.ModelForm):  # type: ignore[type-arg]
    """Offers plans that are valid today; empty start means now."""

    class Meta:
        model = Subscription
        fields = ("clinic", "plan", "starts_at")
        help_texts = {
            "plan": _("A smaller plan deletes nothing: it only blocks adding."),
            "starts_at": _("Empty: at once."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        starts_at = self.fields.get("starts_at")
        if starts_at is not None:
            starts_at.required = False
            self.initial["starts_at"] = None
        plan = self.fields.get("plan")
        if isinstance(plan, forms.ModelChoiceField):
            today = timezone.now().date()
            plan.queryset = Plan.objects.filter(
                Q(valid_until_date=None) | Q(valid_until_date__gte=today), valid_from_date__lte=today
            )

    def clean_starts_at(self) -> datetime | None:
        """Refuse a start in the past: it would rewrite what was in force."""
        starts_at: datetime | None = self.cleaned_data["starts_at"]
        if starts_at is not None and starts_at < timezone.now():
            raise ValidationError(_("This moment has passed. Leave it empty to begin at once."))
        return starts_at
