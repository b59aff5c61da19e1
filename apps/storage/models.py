"""What is stored where; no plaintext, no key unwrapped."""

from django.db import models
from django.utils import timezone

from apps.clinics.models import ClinicOwned, PublicIdField
from apps.storage.places import PRIMARY, object_name


class Blob(ClinicOwned):
    """Stored bytes: Tink AES-GCM-HKDF streaming ciphertext in a place, named by `public_id`.

    Made by `services.write_blob` and its like alone. The row of a destroyed blob stays, without its key.
    """

    class State(models.TextChoices):
        """A blob is held apart, kept, or gone for good."""

        QUARANTINED = "quarantined"
        STORED = "stored"
        DESTROYED = "destroyed"

    public_id = PublicIdField()
    kind = models.CharField(max_length=20)
    state = models.CharField(max_length=12, choices=State.choices)
    # Of the plaintext, as its SHA-256 (32 bytes) is.
    size_bytes = models.PositiveBigIntegerField()
    ciphertext_bytes = models.PositiveBigIntegerField()
    sha256 = models.BinaryField()
    # The first 40 bytes of the ciphertext, so that a ranged read needs no second request.
    header = models.BinaryField()
    wrapped_key = models.BinaryField(null=True)
    clinic_key_id = models.BigIntegerField()
    # A name in settings.STORAGES: where it was written first.
    place = models.CharField(max_length=40, default=PRIMARY)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    destroyed_at = models.DateTimeField(null=True, blank=True)
    bytes_deleted_at = models.DateTimeField(null=True, blank=True)
    # Since when every place has held it, as far as is known; empty as long as one has yet to get it.
    copied_at = models.DateTimeField(null=True, blank=True)
    # Since when no place has had it whole: it cannot be read any more.
    lost_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["id"], condition=models.Q(state="stored", copied_at__isnull=True), name="blob_to_copy"
            ),
            models.Index(fields=["clinic", "state"], name="blob_by_state"),
            models.Index(
                fields=["destroyed_at"],
                condition=models.Q(state="destroyed", bytes_deleted_at__isnull=True),
                name="blob_bytes_to_delete",
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_destroyed(self) -> bool:
        """Whether the key is gone."""
        return self.state == self.State.DESTROYED or self.wrapped_key is None

    @property
    def object_name(self) -> str:
        """The name under which every place keeps its bytes."""
        return object_name(self.public_id)

    @property
    def associated_data(self) -> bytes:
        """What the ciphertext and its data key are bound to: format version, clinic, blob and kind, not the path."""
        return f"viewbox blob, format 1, clinic {self.clinic_id}, blob {self.public_id}, kind {self.kind}".encode()


class Copy(ClinicOwned):
    """What is known of one blob in one place, the first place included.

    Made when the blob is copied; a blob without any has just arrived.
    """

    class State(models.TextChoices):
        """Whether the bytes were as written when they were last looked at."""

        GOOD = "good"
        DAMAGED = "damaged"

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="copies")
    # A name in settings.STORAGES.
    place = models.CharField(max_length=40)
    state = models.CharField(max_length=8, choices=State.choices, default=State.GOOD)
    # Of the stored bytes: tells damage without any key.
    ciphertext_sha256 = models.BinaryField()
    copied_at = models.DateTimeField(default=timezone.now)
    checked_at = models.DateTimeField(default=timezone.now)
    # Until when the place refuses to delete or replace it.
    locked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["blob", "place"], name="one_copy_a_place")]
        indexes = [
            models.Index(fields=["place", "checked_at"], name="copy_to_check"),
            models.Index(fields=["id"], condition=models.Q(state="damaged"), name="copy_to_repair"),
        ]


class Usage(ClinicOwned):
    """How much a clinic has stored, kept equal to the sum over its blobs in the same transactions."""

    stored_bytes = models.BigIntegerField(default=0)
    blob_count = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic"], name="usage_of_a_clinic")]
