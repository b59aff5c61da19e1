"""Copies of the database and alarms in Django admin, to be read: how far each place is, what is or was wrong."""

from __future__ import annotations

from django.contrib import admin

from apps.backup.models import Alarm, DatabaseCopy


@admin.register(DatabaseCopy)
class DatabaseCopyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """How far each place is with the database."""

    list_display = ("place", "shipped_until", "file_count", "code", "seen_at")
    search_fields = ("place",)
    ordering = ("place",)
    fields = ("place", "shipped_until", "file_count", "code", "seen_at")


@admin.register(Alarm)
class AlarmAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Alarms that are up and that are over, by code and item; the sentence went out by mail."""

    list_display = ("code", "item", "raised_at", "cleared_at")
    list_filter = ("code", ("cleared_at", admin.EmptyFieldListFilter))
    search_fields = ("code", "item")
    date_hierarchy = "raised_at"
    ordering = ("-raised_at",)
    fields = ("code", "item", "raised_at", "cleared_at")
