"""The whole trail in Django admin, to be read: references instead of names, nothing to change."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from apps.audit.models import AuditEvent, Seal
from apps.audit.words import ACTOR_KINDS
from apps.clinics.models import Clinic


class ActorKindFilter(admin.SimpleListFilter):
    """By kind of actor, from our own list: asking a large trail for its distinct values takes long."""

    title = _("who")
    parameter_name = "actor_kind"

    def lookups(self, request, model_admin):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Offer the kinds."""
        return list(ACTOR_KINDS.items())

    def queryset(self, request, queryset):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Narrow the list."""
        return queryset.filter(actor_kind=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Events of all clinics and of the installation itself."""

    list_display = ("timestamp", "clinic", "what", "outcome", "who", "remote_addr", "object_kind", "object_reference")
    list_filter = ("outcome", ActorKindFilter)
    search_fields = ("public_id", "verb", "actor_email", "actor_reference", "object_reference", "request_id")
    ordering = ("-id",)
    fields = (
        "public_id",
        "timestamp",
        "clinic",
        "what",
        "verb",
        "outcome",
        "who",
        "actor_kind",
        "actor_reference",
        "remote_addr",
        "user_agent",
        "session_hash",
        "request_id",
        "object_kind",
        "object_reference",
        "patient_reference",
        "study_reference",
        "facts",
    )
    show_full_result_count = False
    list_per_page = 50

    @admin.display(description=_("clinic"), ordering="clinic_id")
    def clinic(self, event: AuditEvent) -> str:
        """Return the clinic's short name; empty for the installation's own events."""
        if event.clinic_id is None:
            return ""
        # At most list_per_page look-ups by primary key.
        slug = Clinic.objects.filter(pk=event.clinic_id).values_list("slug", flat=True).first()
        return slug or str(event.clinic_id)

    @admin.display(description=_("what"), ordering="verb")
    def what(self, event: AuditEvent) -> str:
        """Return the event in plain words."""
        return event.verb_words

    @admin.display(description=_("who"), ordering="actor_email")
    def who(self, event: AuditEvent) -> str:
        """Return the actor in plain words."""
        return event.actor_words

    @admin.display(description=_("details"))
    def facts(self, event: AuditEvent) -> str:
        """Details and changes in plain words."""
        return "; ".join(event.detail_list)


@admin.register(Seal)
class SealAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The seals; their digests are no secrets."""

    list_display = ("chain", "number", "count", "sealed_at", "root_digest")
    list_filter = ()
    ordering = ("-id",)
    fields = ("chain", "number", "count", "last_event_id", "schema_version", "sealed_at", "root_digest")
    show_full_result_count = False

    @admin.display(description=_("root"))
    def root_digest(self, seal: Seal) -> str:
        """Return the Merkle root, in hexadecimal."""
        return bytes(seal.root).hex()
