"""A clinic's choices, its anonymised copies, what waits for a person, and the reports."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, PublicIdField
from apps.links.models import Link
from apps.storage.models import Blob
from apps.studies.models import Instance, Study


class Preset(models.TextChoices):
    """The ready-made profiles of `apps.dicom.deidentify`."""

    SECOND_OPINION = "second-opinion", _("Second opinion")
    RESEARCH = "research", _("Research")
    TEACHING = "teaching", _("Teaching")
    MINIMAL = "minimal", _("As little as possible")


class Policy(ClinicOwned):
    """What a clinic chose, and the key that its pseudonyms are derived from."""

    # Empty: files are stored as they come.
    ingest_preset = models.CharField(max_length=20, blank=True, choices=Preset.choices)
    link_preset = models.CharField(max_length=20, choices=Preset.choices, default=Preset.SECOND_OPINION)
    download_preset = models.CharField(max_length=20, choices=Preset.choices, default=Preset.RESEARCH)
    keeps_identities = models.BooleanField(default=False)
    sealed_key = models.BinaryField(editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic"], name="policy_of_a_clinic")]


class Identity(ClinicOwned):
    """Who is behind a pseudonym, sealed; only where the clinic asked for the table."""

    pseudonym = models.CharField(max_length=64)
    sealed = models.BinaryField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "pseudonym"], name="identity_of_a_pseudonym")]


class Copy(ClinicOwned):
    """An anonymised copy of studies of one patient: an edition of its own, named by `public_id`."""

    class Purpose(models.TextChoices):
        """What it was made for."""

        LINK = "link", _("Link")
        DOWNLOAD = "download", _("Download")

    class State(models.TextChoices):
        """How far it is."""

        PREPARING = "preparing", _("Being prepared")
        WAITING = "waiting", _("Waits for somebody to look")
        READY = "ready", _("Ready")
        ENDED = "ended", _("Deleted")

    public_id = PublicIdField()
    purpose = models.CharField(max_length=10, choices=Purpose.choices)
    preset = models.CharField(max_length=20, choices=Preset.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PREPARING)
    studies = models.ManyToManyField(Study, related_name="+")
    # A link's copy ends with it, a download's at `ends_at`.
    link = models.OneToOneField(Link, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    ends_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ready_at = models.DateTimeField(null=True, blank=True)
    instance_count = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["clinic", "state", "created_at"], name="copy_by_state")]

    def audit_reference(self) -> ObjectReference:
        """Name this copy in the audit trail."""
        study = self.studies.select_related("patient").first()
        reference = study.audit_reference() if study else ObjectReference("copy", "")
        return ObjectReference(
            "copy",
            self.public_id,
            patient_reference=reference.patient_reference,
            study_reference=reference.study_reference,
        )


class CopyItem(ClinicOwned):
    """What became of one instance in a copy."""

    class State(models.TextChoices):
        """Done, waiting for a person, or left out because a person said so."""

        DONE = "done"
        WAITING = "waiting"
        LEFT_OUT = "left-out"

    copy = models.ForeignKey(Copy, on_delete=models.CASCADE, related_name="items")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["copy", "instance"], name="copy_item_once")]


class Review(ClinicOwned):
    """An instance that no rule may release: a person looks at its frames, corrects the boxes, and decides."""

    class State(models.TextChoices):
        """What was decided."""

        WAITING = "waiting", _("Waiting")
        APPROVED = "approved", _("Approved")
        REFUSED = "refused", _("Left out")

    public_id = PublicIdField()
    # A stored instance, or what arrived and waits in quarantine.
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="+")
    upload_id = models.BigIntegerField(null=True, blank=True)
    # Codes: apps.dicom.burned_in.rules.Doubt and apps.dicom.deidentify.Reason.
    reasons = models.JSONField(default=list)
    # [left, top, right, bottom] in pixels of the frame; for all frames.
    proposed = models.JSONField(default=list)
    boxes = models.JSONField(default=list)
    rows = models.PositiveIntegerField(default=0)
    columns = models.PositiveIntegerField(default=0)
    number_of_frames = models.PositiveIntegerField(default=0)
    modality = models.CharField(max_length=16, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["clinic", "state", "created_at"], name="review_queue")]
        constraints = [
            models.UniqueConstraint(fields=["blob"], name="review_of_a_blob"),
            models.CheckConstraint(
                condition=Q(instance__isnull=False) | Q(upload_id__isnull=False), name="review_of_something"
            ),
        ]

    @property
    def can_be_cleaned(self) -> bool:
        """Whether there are frames to look at; documents and videos can only be left out."""
        return self.number_of_frames > 0

    def audit_reference(self) -> ObjectReference:
        """Name this review in the audit trail."""
        if self.instance is None:
            return ObjectReference("review", self.public_id)
        reference = self.instance.audit_reference()
        return ObjectReference(
            "review",
            self.public_id,
            patient_reference=reference.patient_reference,
            study_reference=reference.study_reference,
        )


class Report(ClinicOwned):
    """The proof for one study of a copy, or of what was anonymised on its way in: rules and elements, no old value."""

    public_id = PublicIdField()
    copy = models.ForeignKey(Copy, on_delete=models.SET_NULL, null=True, blank=True, related_name="reports")
    # The study as the clinic has it: the identified one of a copy, the anonymised one of an upload.
    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="+")
    content = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    verified_at = models.DateTimeField(null=True, blank=True)
    residue_count = models.PositiveIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["clinic", "study", "-created_at"], name="report_of_study")]

    def audit_reference(self) -> ObjectReference:
        """Name this report in the audit trail."""
        reference = self.study.audit_reference()
        return ObjectReference(
            "report",
            self.public_id,
            patient_reference=reference.patient_reference,
            study_reference=reference.study_reference,
        )
