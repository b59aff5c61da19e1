"""What is stored where; no plaintext, no key unwrapped."""

from django.db import models
from django.utils import timezone

from apps.clinics.models import ClinicOwned, PublicIdField


class Blob(ClinicOwned):
    """Stored bytes: Tink AES-GCM-HKDF streaming ciphertext in a place, named by `public_id`."""

    class State(models.TextChoices):
        """A blob is held apart, kept, or gone for good."""

        QUARANTINED = "quarantined"
        STORED = "stored"
        DESTROYED = "destroyed"

    public_id = PublicIdField()
    kind = models.CharField(max_length=20)
    state = models.CharField(max_length=12, choices=State.choices)
    size_bytes = models.PositiveBigIntegerField()
    ciphertext_bytes = models.PositiveBigIntegerField()
    sha256 = models.BinaryField()
    # The first 40 bytes of the ciphertext, so that a ranged read needs no second request.
    header = models.BinaryField()
    wrapped_key = models.BinaryField(null=True)
    clinic_key_id = models.BigIntegerField()
    place = models.CharField(max_length=40, default="primary")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["clinic", "state"], name="blob_by_state")]


class Usage(ClinicOwned):
    """How much a clinic has stored, kept equal to the sum over its blobs in the same transactions."""

    stored_bytes = models.BigIntegerField(default=0)
    blob_count = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic"], name="usage_of_a_clinic")]
