"""Links in Django admin: how many, how often opened; never what they show, never a token."""

from __future__ import annotations

from django.contrib import admin

from apps.links.models import Link


@admin.register(Link)
class LinkAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Links of all clinics, to be looked at."""

    list_display = ("public_id", "clinic", "created_at", "expires_at", "view_count", "revoked_at", "frozen_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), ("frozen_at", admin.EmptyFieldListFilter))
    search_fields = ("public_id", "clinic__slug")
    list_select_related = ("clinic",)
    ordering = ("-created_at",)
    fields = (
        "public_id",
        "clinic",
        "kind",
        "created_at",
        "expires_at",
        "max_views",
        "view_count",
        "failed_attempts",
        "revoked_at",
        "frozen_at",
    )
    show_full_result_count = False
