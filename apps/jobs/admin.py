"""Background work in Django admin: what waits, runs, failed; who works."""

from __future__ import annotations

from django.contrib import admin

from apps.jobs.models import Job, Periodic, WorkerPulse


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Jobs, without their payloads."""

    list_display = ("kind", "clinic", "state", "attempts", "error", "run_after", "created_at", "finished_at")
    list_filter = ("state", "kind")
    search_fields = ("kind", "clinic__slug")
    list_select_related = ("clinic",)
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    fields = (
        "kind",
        "clinic",
        "state",
        "attempts",
        "error",
        "run_after",
        "lease_until",
        "created_at",
        "finished_at",
    )
    show_full_result_count = False


@admin.register(Periodic)
class PeriodicAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """When each periodic task last began."""

    list_display = ("name", "started_at")
    fields = ("name", "started_at")


@admin.register(WorkerPulse)
class WorkerPulseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Which workers showed themselves, and when."""

    list_display = ("name", "seen_at")
    fields = ("name", "seen_at")
