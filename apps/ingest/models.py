"""What has arrived and what became of it."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.audit.services import Context
from apps.clinics.models import ClinicOwned, PublicIdField
from apps.links.models import Link
from apps.patients import naming
from apps.patients.models import Patient
from apps.storage.models import Blob
from apps.studies.models import Instance, Study

# What arrives is a DICOM instance until its content says otherwise; the kind is fixed when the first byte is written.
QUARANTINE_KIND = "instance"


class UploadBatch(ClinicOwned):
    """One act of bringing files: a visit to the upload page, a STOW-RS request, an import."""

    class Source(models.TextChoices):
        """The way in."""

        WEB = "web"
        STOW = "stow"
        IMPORT = "import"
        REQUEST = "request"

    public_id = PublicIdField()
    source = models.CharField(max_length=10, choices=Source.choices)
    created_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # Who brought it, as the audit trail names them: what is done later in a worker is still their act.
    actor_kind = models.CharField(max_length=12, default="system")
    actor_reference = models.CharField(max_length=64, blank=True)
    # Where documents of this batch go; a batch opened from a study page has one.
    study = models.ForeignKey(Study, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # The same for documents that belong to a patient and to no study.
    patient = models.ForeignKey(Patient, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # By which upload request it came; what it brings waits in the inbox.
    request = models.ForeignKey(
        "UploadRequest", on_delete=models.PROTECT, null=True, blank=True, related_name="batches"
    )
    # The de-identification profile that the clinic had chosen when it was opened; empty stores files as they are.
    deidentify_profile = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["clinic", "created_by", "-created_at"], name="upload_batch_mine")]

    @property
    def context(self) -> Context:
        """Who brought it, for what a worker does on their behalf later."""
        return Context(actor_kind=self.actor_kind, actor_reference=self.actor_reference, user_id=self.created_by_id)

    def audit_reference(self) -> ObjectReference:
        """Name this batch in the audit trail."""
        return ObjectReference("upload", self.public_id)


class Upload(ClinicOwned):
    """One file, not yet accepted; afterwards the record of what became of it."""

    class State(models.TextChoices):
        """What became of the file."""

        RECEIVED = "received"
        WAITING = "waiting"
        EXPANDED = "expanded"
        STORED = "stored"
        DUPLICATE = "duplicate"
        CONFLICT = "conflict"
        REJECTED = "rejected"
        IGNORED = "ignored"

    public_id = PublicIdField()
    batch = models.ForeignKey(UploadBatch, on_delete=models.PROTECT, related_name="uploads")
    archive = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="members")
    # The member's place in its archive's directory: a second attempt at the archive skips what the first one took.
    position = models.PositiveIntegerField(null=True, blank=True)
    # The sender's own name for this sending: a repeated request finds the first one's row instead of making another.
    client_key = models.CharField(max_length=40, null=True, blank=True)
    # For people only; what the sender called the file never becomes a path.
    name = models.CharField(max_length=255)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVED)
    code = models.CharField(max_length=40, blank=True)
    message = models.CharField(max_length=300, blank=True)
    size_bytes = models.PositiveBigIntegerField(default=0)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    instance = models.ForeignKey(Instance, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    study = models.ForeignKey(Study, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    sop_instance_uid = models.CharField(max_length=64, blank=True)
    # What came by an upload request belongs to one of these, waiting or assigned.
    arrival = models.ForeignKey("WaitingStudy", on_delete=models.PROTECT, null=True, blank=True, related_name="uploads")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["batch", "state"], name="upload_progress"),
            models.Index(fields=["batch", "finished_at"], name="upload_finished"),
            models.Index(fields=["clinic", "study"], name="upload_of_study"),
            models.Index(fields=["clinic", "sop_instance_uid"], name="upload_of_instance"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["archive", "position"], name="upload_archive_member"),
            models.UniqueConstraint(fields=["batch", "client_key"], name="upload_client_key"),
        ]


class UploadRequest(ClinicOwned):
    """A link by which somebody outside sends files into the clinic; what it brings waits in the inbox.

    The numbers are counted in the same transaction as each arrival, so that what is sent in parallel stays within them.
    """

    link = models.OneToOneField(Link, on_delete=models.PROTECT, related_name="+")
    # For the clinic alone: whom it was sent to. The note is for whoever opens it.
    title = models.CharField(max_length=120)
    note = models.CharField(max_length=500, blank=True)
    max_files = models.PositiveIntegerField()
    max_bytes = models.PositiveBigIntegerField()
    file_count = models.PositiveIntegerField(default=0)
    received_bytes = models.PositiveBigIntegerField(default=0)
    is_mail_wanted = models.BooleanField(default=True)
    mailed_at = models.DateTimeField(null=True, blank=True)

    def audit_reference(self) -> ObjectReference:
        """Name it in the audit trail, as the link it is."""
        return ObjectReference("link", self.link.public_id)


class WaitingStudy(ClinicOwned):
    """One study as it came by an upload request: nothing of it is anywhere else until somebody says whose it is.

    The facts are those of the first file. Files of one study that name two people are two of these.
    """

    class State(models.TextChoices):
        """What became of it."""

        WAITING = "waiting"
        ASSIGNED = "assigned"
        REJECTED = "rejected"

    public_id = PublicIdField()
    request = models.ForeignKey(UploadRequest, on_delete=models.PROTECT, related_name="waiting_studies")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    # A digest of study and person: files of later batches of the same request join what still waits.
    identity_key = models.CharField(max_length=64, editable=False)
    study_instance_uid = models.CharField(max_length=64)
    study_date = models.DateField(null=True, blank=True)
    study_description = models.CharField(max_length=64, blank=True)
    modalities = models.CharField(max_length=200, blank=True)
    dicom_patient_id = models.CharField(max_length=64, blank=True)
    issuer_of_patient_id = models.CharField(max_length=64, blank=True)
    patient_name = models.CharField(max_length=324, blank=True)
    patient_birth_date = models.DateField(null=True, blank=True)
    patient_sex = models.CharField(max_length=16, blank=True)
    file_count = models.PositiveIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)
    # Whose it is, once somebody said so.
    patient = models.ForeignKey(Patient, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["clinic", "state", "-created_at"], name="waiting_by_state")]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "identity_key"], condition=models.Q(state="waiting"), name="waiting_once"
            )
        ]

    @property
    def readable_name(self) -> str:
        """The name that its files give, as people write it."""
        return naming.readable(self.patient_name) or str(_("No name"))

    def audit_reference(self) -> ObjectReference:
        """Name it in the audit trail without saying who it is."""
        return ObjectReference("arrival", self.public_id)


class VersionDecision(ClinicOwned):
    """What a person decided about a second version of an instance; a replacement can be taken back.

    The upload that brought the second version holds whichever of the two is not the instance's.
    """

    class Choice(models.TextChoices):
        """What became of the two."""

        KEPT = "kept", _("The stored version was kept")
        REPLACED = "replaced", _("The other version took its place")
        BOTH = "both", _("Both are kept, one under a UID of its own")

    upload = models.ForeignKey(Upload, on_delete=models.PROTECT, related_name="decisions")
    choice = models.CharField(max_length=8, choices=Choice.choices)
    # The instance's blob before and after a replacement.
    before = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    after = models.ForeignKey(Blob, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    # What the second version became under its new UID.
    reissued = models.ForeignKey(Upload, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    decided_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(default=timezone.now, editable=False)
    undone_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["upload"], condition=models.Q(undone_at=None), name="one_decision_about_a_version"
            )
        ]


class Transfer(ClinicOwned):
    """A large file on its way in pieces (tus 1.0): what has arrived is durable, whatever dies in between."""

    public_id = PublicIdField()
    batch = models.ForeignKey(UploadBatch, on_delete=models.PROTECT, related_name="transfers")
    name = models.CharField(max_length=255)
    client_key = models.CharField(max_length=40, null=True, blank=True)
    # What its sender recognises the file by on another computer: a digest over its size and samples of its bytes.
    fingerprint = models.CharField(max_length=64, blank=True)
    length_bytes = models.PositiveBigIntegerField()
    offset_bytes = models.PositiveBigIntegerField(default=0)
    # Who is writing at the moment; whoever died lets go by itself.
    lock_token = models.CharField(max_length=32, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    # The file that it became, once every byte was there.
    upload = models.OneToOneField(Upload, on_delete=models.PROTECT, null=True, blank=True, related_name="transfer")

    class Meta:
        indexes = [
            models.Index(fields=["clinic", "fingerprint"], name="transfer_fingerprint"),
            models.Index(fields=["expires_at"], condition=models.Q(upload__isnull=True), name="transfer_expiry"),
        ]

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        return self.offset_bytes == self.length_bytes

    @property
    def is_expired(self) -> bool:
        """Whether nobody went on with it for too long."""
        return self.upload_id is None and self.expires_at < timezone.now()

    def audit_reference(self) -> ObjectReference:
        """Name it in the audit trail, by the upload it belongs to."""
        return ObjectReference("upload", self.batch.public_id)


class Segment(ClinicOwned):
    """One piece of a transfer, as one request brought it: a quarantined blob of its own."""

    transfer = models.ForeignKey(Transfer, on_delete=models.CASCADE, related_name="segments")
    offset_bytes = models.PositiveBigIntegerField()
    blob = models.OneToOneField(Blob, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["transfer", "offset_bytes"], name="segment_place")]
