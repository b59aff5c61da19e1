"""Clinics in Django admin: who is there, and closing one for a while."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.clinics.models import Clinic


@admin.register(Clinic)
class ClinicAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Clinics are made by `manage.py create_clinic` (keys, plan and invitation come with it) and never deleted here."""

    list_display = ("slug", "name", "locale", "is_open", "created_at")
    list_filter = ("locale", ("suspended_at", admin.EmptyFieldListFilter))
    search_fields = ("slug", "name", "public_id")
    fields = (
        "slug",
        "public_id",
        "name",
        "locale",
        "time_zone",
        "idle_timeout_minutes",
        "password_max_age_days",
        "is_passphrase_mode",
        "suspended_at",
        "created_at",
    )
    # The slug stands in people's bookmarks and in devices' configurations.
    readonly_fields = ("slug", "public_id", "suspended_at", "created_at")
    actions = ("suspend", "reopen")

    @admin.display(description=_("open"), boolean=True, ordering="suspended_at")
    def is_open(self, clinic: Clinic) -> bool:
        """Whether people of the clinic get in."""
        return not clinic.is_suspended

    @admin.action(description=_("Close the chosen clinics (nothing is deleted)"), permissions=["change"])
    def suspend(self, request: HttpRequest, clinics: QuerySet[Clinic]) -> None:
        """Close clinics: their people and links are refused from the next request on."""
        # Saved one by one: each change is an entry in the trail.
        for clinic in clinics.filter(suspended_at=None):
            clinic.suspended_at = timezone.now()
            clinic.save(update_fields=["suspended_at"])

    @admin.action(description=_("Open the chosen clinics again"), permissions=["change"])
    def reopen(self, request: HttpRequest, clinics: QuerySet[Clinic]) -> None:
        """Let the people of closed clinics in again."""
        for clinic in clinics.exclude(suspended_at=None):
            clinic.suspended_at = None
            clinic.save(update_fields=["suspended_at"])
