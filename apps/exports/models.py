"""What exports remember: checksums of stored content, and what is prepared to be taken along."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, PublicIdField
from apps.clinics.scoping import current_edition
from apps.storage.models import Blob
from apps.studies.models import Study


class Checksum(ClinicOwned):
    """The CRC-32 of a blob's content; it never changes, as the content never does."""

    blob = models.OneToOneField(Blob, on_delete=models.CASCADE, related_name="+")
    crc32 = models.BigIntegerField()


class Format(models.TextChoices):
    """In what shape studies are taken along."""

    ZIP = "zip", _("ZIP archive")
    ISO = "iso", _("Image of a disc (ISO)")


class Export(ClinicOwned):
    """Studies being prepared in the background: one encrypted blob, for one person or link, gone after a while."""

    class State(models.TextChoices):
        """How far it is."""

        WAITING = "waiting", _("Waiting")
        RUNNING = "running", _("Being prepared")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")
        EXPIRED = "expired", _("Removed")

    public_id = PublicIdField()
    format = models.CharField(max_length=4, choices=Format.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    studies = models.ManyToManyField(Study, related_name="+")
    # The edition in which it was asked for: of an anonymised copy the studies are found in no other.
    edition = models.CharField(max_length=22, default=current_edition, blank=True, editable=False)
    # For whom it is made; nobody else finds it.
    actor_kind = models.CharField(max_length=12)
    actor_reference = models.CharField(max_length=64)
    language = models.CharField(max_length=10)
    done_bytes = models.PositiveBigIntegerField(default=0)
    total_bytes = models.PositiveBigIntegerField(default=0)
    blob = models.ForeignKey(Blob, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ready_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["clinic", "actor_reference", "-created_at"], name="export_of_actor")]

    def audit_reference(self) -> ObjectReference:
        """Name this export in the audit trail."""
        return ObjectReference("export", self.public_id)

    @property
    def percent(self) -> int:
        """How much of it is done."""
        return min(100, self.done_bytes * 100 // self.total_bytes) if self.total_bytes else 0


class SigningKey(models.Model):
    """An Ed25519 key that signs receipts: the public half is for everybody, the private half is sealed."""

    public_key = models.BinaryField(max_length=32, unique=True)
    sealed_private_key = models.BinaryField()
    # What signs now; the others are kept so that what they signed can be checked.
    is_primary = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["is_primary"], condition=models.Q(is_primary=True), name="one_signing_key")
        ]
