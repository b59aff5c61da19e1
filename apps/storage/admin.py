"""How much each clinic has stored."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from apps.clinics.scoping import every_clinic
from apps.storage.models import Usage


@admin.register(Usage)
class UsageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Bytes and blobs by clinic; the blobs themselves have no page."""

    list_display = ("clinic", "size", "blob_count")
    search_fields = ("clinic__slug",)
    ordering = ("-stored_bytes",)
    fields = ("clinic", "stored_bytes", "blob_count")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Usage]:
        """Return the usage of every clinic."""
        with every_clinic():
            return super().get_queryset(request).select_related("clinic")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: the counter follows the blobs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Usage | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Usage | None = None) -> bool:
        """Nobody."""
        return False

    @admin.display(description=_("stored"), ordering="stored_bytes")
    def size(self, usage: Usage) -> str:
        """Return the size in words."""
        return filesizeformat(usage.stored_bytes)
