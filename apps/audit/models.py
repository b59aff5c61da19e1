"""One trail for views and for changes: auditlog's swappable entry, and the seals over it."""

from __future__ import annotations

from typing import Any

from auditlog.models import AbstractLogEntry, LogEntryManager
from django.conf import settings
from django.db import Error, models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.audit.context import Context, current_context
from apps.audit.errors import AuditUnavailableError
from apps.audit.words import actor_words, detail_words, kind_words, verb_words
from apps.clinics.models import PublicIdField


class Outcome(models.TextChoices):
    """How it went."""

    SUCCESS = "success", _("Done")
    DENIED = "denied", _("Refused")
    FAILURE = "failure", _("Failed")


class AuditEventManager(LogEntryManager, models.Manager["AuditEvent"]):
    """Fills in what auditlog does not know: the clinic, the verb, who acts; and leaves names out."""

    def log_create(self, instance: models.Model, force_log: bool = False, **kwargs: Any) -> AuditEvent | None:
        """Return the entry for a changed configuration model, None when nothing changed.

        The object's text is its public id, never its name. Raises AuditUnavailableError when it cannot be written.
        """
        if kwargs.get("changes") is None and not force_log:
            return None
        return self._log(super().log_create, instance, kwargs | {"force_log": force_log})

    def log_m2m_changes(
        self, changed_queryset: Any, instance: models.Model, operation: str, field_name: str, **kwargs: Any
    ) -> AuditEvent | None:
        """As `log_create`, for a many-to-many field."""
        return self._log(
            super().log_m2m_changes,
            instance,
            kwargs | {"changed_queryset": changed_queryset, "operation": operation, "field_name": field_name},
        )

    def _log(self, create: Any, instance: models.Model, kwargs: dict[str, Any]) -> AuditEvent | None:
        kind = instance._meta.model_name or ""  # noqa: SLF001  # Django's documented Model._meta
        action = kwargs.setdefault("action", AuditEvent.Action.UPDATE)
        reference = str(getattr(instance, "public_id", None) or instance.pk)
        context = current_context()
        described = {
            "clinic_id": instance.pk if kind == "clinic" else getattr(instance, "clinic_id", None),
            "verb": f"{kind}.{_PAST[action]}",
            "object_kind": kind,
            "object_reference": reference[:64],
            "object_repr": reference,
            "additional_data": None,
        }
        try:
            event: AuditEvent | None = create(instance=instance, **(kwargs | described | columns_of(context)))
        except Error as error:
            raise AuditUnavailableError from error
        return event


class AuditEvent(AbstractLogEntry):
    """One thing that happened; append-only by triggers (ASVS 16.4, DICOM PS3.15 A.5).

    auditlog's own fields carry changes of configuration models; `verb` and the references carry everything else.
    No PHI: people's objects are named by their random public ids.
    """

    # Unconstrained and DO_NOTHING: deleting a user or a stale content type must never touch this table.
    content_type = models.ForeignKey(
        "contenttypes.ContentType", on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+"
    )
    # auditlog indexes these; we look for none of them, and every index slows each write.
    object_pk = models.CharField(max_length=255, blank=True, default="", editable=False)
    object_id = models.BigIntegerField(null=True, blank=True, editable=False)
    object_repr = models.TextField(blank=True, default="", editable=False)
    action = models.PositiveSmallIntegerField(
        choices=AbstractLogEntry.Action.choices, default=AbstractLogEntry.Action.ACCESS, editable=False
    )
    cid = models.CharField(max_length=255, blank=True, null=True, editable=False)

    # What the header X-Audit-Id names: unlike the row's number it tells nobody how much others do.
    public_id = PublicIdField()
    clinic_id = models.BigIntegerField(null=True, editable=False)
    verb = models.CharField(max_length=40, editable=False)
    outcome = models.CharField(max_length=12, choices=Outcome.choices, default=Outcome.SUCCESS, editable=False)
    actor_kind = models.CharField(max_length=12, default="system", editable=False)
    actor_reference = models.CharField(max_length=64, blank=True, default="", editable=False)
    object_kind = models.CharField(max_length=40, blank=True, default="", editable=False)
    object_reference = models.CharField(max_length=64, blank=True, default="", editable=False)
    patient_reference = models.CharField(max_length=22, blank=True, default="", editable=False)
    study_reference = models.CharField(max_length=22, blank=True, default="", editable=False)
    session_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    user_agent = models.CharField(max_length=300, blank=True, default="", editable=False)
    request_id = models.CharField(max_length=64, blank=True, default="", editable=False)

    objects = AuditEventManager()

    class Meta(AbstractLogEntry.Meta):
        abstract = False
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [
            models.Index(fields=["clinic_id", "-id"], name="audit_by_clinic"),
            models.Index(fields=["clinic_id", "-timestamp"], name="audit_by_time"),
            models.Index(fields=["clinic_id", "study_reference", "-timestamp"], name="audit_by_study"),
            models.Index(fields=["session_hash", "object_reference", "-timestamp"], name="audit_covering"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.public_id}"

    @property
    def details(self) -> dict[str, Any]:
        """The allow-listed facts recorded with the event (see apps.audit.details)."""
        return self.additional_data or {}

    @property
    def verb_words(self) -> str:
        """What happened, in the reader's language."""
        return verb_words(self.verb)

    @property
    def actor_words(self) -> str:
        """Who did it: a person's e-mail address, else what kind of actor and its reference."""
        if self.actor_email:
            return str(self.actor_email)
        return " ".join(part for part in (actor_words(self.actor_kind), self.actor_reference) if part)

    @property
    def object_words(self) -> str:
        """What kind of thing it was done to; empty for none."""
        return kind_words(self.object_kind) if self.object_kind else ""

    @property
    def detail_list(self) -> list[str]:
        """The details and the changes, each in plain words."""
        details = [detail_words(key, value) for key, value in self.details.items()]
        for name, change in (self.changes or {}).items():
            if isinstance(change, list) and len(change) == 2:
                old, new = ("-" if value in (None, "None", "") else value for value in change)
                details.append(f"{name.replace('_', ' ')}: {old} → {new}")
        return details


_PAST = {
    AbstractLogEntry.Action.CREATE: "created",
    AbstractLogEntry.Action.UPDATE: "changed",
    AbstractLogEntry.Action.DELETE: "deleted",
    AbstractLogEntry.Action.ACCESS: "viewed",
}


def columns_of(context: Context) -> dict[str, Any]:
    """Return the columns of an AuditEvent that say who acted; control characters and overlong text are cut."""
    return {
        "actor_kind": context.actor_kind,
        "actor_reference": context.actor_reference[:64],
        "actor_id": context.user_id,
        "actor_email": context.user_email[:254] or None,
        "remote_addr": context.remote_addr or None,
        "user_agent": "".join(c for c in context.user_agent if c.isprintable())[:300],
        "session_hash": context.session_hash[:64],
        "request_id": context.request_id[:64],
    }


class Seal(models.Model):
    """A Merkle root over the events of one clinic since the last seal, chained to it (RFC 6962 section 2)."""

    # The clinic's primary key; 0 for what belongs to no clinic, for NULL would not be unique.
    chain = models.BigIntegerField()
    number = models.PositiveBigIntegerField()
    count = models.PositiveIntegerField()
    root = models.BinaryField(max_length=32)
    previous = models.BinaryField(max_length=32)
    last_event_id = models.BigIntegerField(db_index=True)
    schema_version = models.PositiveSmallIntegerField()
    sealed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["chain", "number"]
        constraints = [models.UniqueConstraint(fields=["chain", "number"], name="seal_chain")]

    def __str__(self) -> str:
        return f"{self.chain}/{self.number}"


class SealMember(models.Model):
    """Says in which seal, and where in it, an event stands; its leaf hash names a changed row exactly."""

    event_id = models.BigIntegerField(primary_key=True)
    seal = models.ForeignKey(Seal, on_delete=models.DO_NOTHING, related_name="members")
    position = models.PositiveIntegerField()
    leaf = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["seal", "position"], name="seal_position")]

    def __str__(self) -> str:
        return str(self.event_id)
