"""Plans and subscriptions in Django admin. A plan change is a new, dated row; old ones stay as they were."""

from __future__ import annotations

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.audit.services import current_context
from apps.billing.forms import PlanChangeForm
from apps.billing.models import Plan, Subscription
from apps.billing.services import change_plan


@admin.register(Plan)
class PlanAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The price lists. A new price is a new row with a later date, so that what was sold stays what it was."""

    list_display = ("name", "locale", "price", "storage", "seats", "links", "is_default", "valid_from_date")
    list_filter = ("locale", "is_default")
    search_fields = ("code", "name")
    fields = (
        "code",
        "name",
        "locale",
        "currency",
        "monthly_price",
        "storage_bytes",
        "seats",
        "links",
        "is_default",
        "valid_from_date",
        "valid_until_date",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Plan | None = None) -> tuple[str, ...]:
        """Keep what was sold: of an existing plan only its name, its default mark and its end change."""
        if obj is None:
            return ()
        return tuple(name for name in self.fields if name not in ("name", "is_default", "valid_until_date"))

    @admin.display(description=_("price a month"), ordering="monthly_price")
    def price(self, plan: Plan) -> str:
        """Return the price with its currency."""
        return plan.price_text

    @admin.display(description=_("storage"), ordering="storage_bytes")
    def storage(self, plan: Plan) -> str:
        """Return the storage in words."""
        return plan.storage_text


@admin.register(Subscription)
class SubscriptionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Which clinic has which plan from when. Adding one changes the plan; nothing is edited or deleted."""

    form = PlanChangeForm
    list_display = ("clinic", "plan", "starts_at", "created_at")
    list_filter = ("plan",)
    search_fields = ("clinic__slug", "clinic__name")
    list_select_related = ("clinic", "plan")
    fields = ("clinic", "plan", "starts_at")
    autocomplete_fields = ("clinic",)
    date_hierarchy = "starts_at"

    def save_model(self, request: HttpRequest, obj: Subscription, form: ModelForm[Subscription], change: bool) -> None:
        """Change the plan through the service, which locks and records."""
        starts_at = form.cleaned_data["starts_at"]
        made = change_plan(obj.clinic, obj.plan, context=current_context(), starts_at=starts_at)
        obj.pk = made.pk
