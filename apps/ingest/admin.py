"""Uploads that failed, and why; never what the file was called or whose it is."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from apps.clinics.scoping import every_clinic
from apps.ingest.models import Upload


@admin.register(Upload)
class FailedUploadAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rejected and conflicting uploads of all clinics, by clinic, reason and size."""

    list_display = ("created_at", "clinic", "source", "state", "code", "size_bytes")
    list_filter = (("state", admin.AllValuesFieldListFilter), "code", "clinic")
    search_fields = ("public_id", "code")
    date_hierarchy = "created_at"
    ordering = ("-created_at",)
    fields = ("public_id", "clinic", "source", "state", "code", "size_bytes", "created_at", "finished_at")
    readonly_fields = ("source",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Upload]:
        """Return the failed uploads of every clinic: staff look after all of them."""
        with every_clinic():
            uploads = super().get_queryset(request)
        failed = uploads.filter(state__in=(Upload.State.REJECTED, Upload.State.CONFLICT))
        return failed.select_related("clinic", "batch").defer("name", "message", "sop_instance_uid")

    @admin.display(description=_("way in"), ordering="batch__source")
    def source(self, upload: Upload) -> str:
        """How the file came: upload page, STOW-RS, import."""
        return upload.batch.get_source_display()
