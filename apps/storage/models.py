"""What is stored where; no plaintext, no key unwrapped."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.clinics.models import ClinicOwned, PublicIdField
from apps.storage.places import PRIMARY, object_name


class KeyringPage(models.Model):
    """Wrapped data keys, and what is said of their blobs, in one sealed object that every place keeps a copy of.

    With the master key alone the database can be remade from pages and blobs. What is destroyed leaves the keyring by a
    page that takes another's place.
    """

    public_id = PublicIdField()
    # Of the master key that wraps the clinics' keys in it: a new one means a new page.
    master_fingerprint = models.CharField(max_length=16)
    entry_count = models.PositiveIntegerField(default=0)
    # Names in settings.STORAGES; empty as long as it was not written.
    places = models.JSONField(default=list)
    # It holds what was destroyed since, or what is said otherwise now.
    is_stale = models.BooleanField(default=False)
    # Another page has taken its place: it goes as soon as every place lets it go.
    superseded_at = models.DateTimeField(null=True, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["superseded_at", "is_stale"], name="keyring_page_due")]

    @property
    def object_name(self) -> str:
        """The name under which places keep it, in their folder of the keyring."""
        return object_name(self.public_id)


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
    # Where the keyring has its key; empty as long as that has yet to be written.
    page = models.ForeignKey(KeyringPage, on_delete=models.SET_NULL, null=True, blank=True, related_name="blobs")

    class Meta:
        indexes = [
            models.Index(fields=["id"], condition=models.Q(state="stored", page__isnull=True), name="blob_to_note"),
            models.Index(fields=["lost_at"], condition=models.Q(lost_at__isnull=False), name="blob_lost"),
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


class Erasure(ClinicOwned):
    """Something destroyed for good on purpose: what a restore of an older copy has to destroy once more.

    The same list lies in every place, sealed, outside the database.
    """

    class Kind(models.TextChoices):
        """Whose data."""

        STUDY = "study", _("A study")
        PATIENT = "patient", _("A patient")
        CLINIC = "clinic", _("A clinic")

    public_id = PublicIdField()
    kind = models.CharField(max_length=7, choices=Kind.choices)
    # Public ids: of the patient or the study, and of all that went with it.
    reference = models.CharField(max_length=22)
    content = models.JSONField(default=dict)
    blob_count = models.PositiveIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)
    actor_kind = models.CharField(max_length=12)
    actor_reference = models.CharField(max_length=64, blank=True)
    # Names in settings.STORAGES of the places whose list has it.
    places = models.JSONField(default=list)
    erased_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["clinic", "-erased_at"], name="erasures_by_date")]


class CapacitySample(models.Model):
    """How much was stored at the end of a day: in one place, or by one clinic."""

    day = models.DateField()
    place = models.CharField(max_length=40, blank=True)
    clinic = models.ForeignKey("clinics.Clinic", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    used_bytes = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "place"], condition=models.Q(clinic__isnull=True), name="sample_of_a_place"
            ),
            models.UniqueConstraint(
                fields=["day", "clinic"], condition=models.Q(clinic__isnull=False), name="sample_of_a_clinic"
            ),
        ]


class CapacityNotice(models.Model):
    """That a clinic was told how few days its plan still lasts; gone when there is time again."""

    clinic = models.OneToOneField("clinics.Clinic", on_delete=models.CASCADE, related_name="+")
    warn_days = models.PositiveSmallIntegerField()
    told_at = models.DateTimeField(default=timezone.now)
