"""The index: Study, Series, Instance (PS3.3 A.1.2), and documents that belong to a study."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, InEdition, PublicIdField
from apps.dicom import sop_classes
from apps.patients import naming
from apps.patients.models import Patient
from apps.storage.models import Blob


class Study(InEdition):
    """A study of one patient; counts and search columns are kept at ingest, never counted on a page."""

    public_id = PublicIdField()
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, related_name="studies")
    study_instance_uid = models.CharField(max_length=64)
    study_date = models.DateField(null=True, blank=True)
    study_time = models.TimeField(null=True, blank=True)
    study_id = models.CharField(max_length=16, blank=True)
    accession_number = models.CharField(max_length=16, blank=True)
    study_description = models.CharField(max_length=64, blank=True)
    referring_physician_name = models.CharField(max_length=324, blank=True)
    # Sorted and divided by backslashes, as the attribute itself is written: CT\PT\SR.
    modalities_in_study = models.CharField(max_length=200, blank=True)
    # When it was made, UTC by definition since headers know no zone; for one that does not say, when it arrived. Never
    # null, so that one index gives the order everywhere.
    listed_at = models.DateTimeField(default=timezone.now)
    # Copies of the patient's search columns: the worklist filters and sorts on one table.
    patient_name_folded = models.CharField(max_length=324, blank=True)
    dicom_patient_id = models.CharField(max_length=64, blank=True)
    number_of_study_related_series = models.PositiveIntegerField(default=0)
    number_of_study_related_instances = models.PositiveIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)
    # Images that no place has whole any more (`apps.studies.damaged`).
    lost_instance_count = models.PositiveIntegerField(default=0, editable=False)
    # Of a de-identified copy: the public id of the study it was made from; the audit trail goes on under that name.
    source_reference = models.CharField(max_length=22, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "edition", "study_instance_uid"], name="study_uid")]
        indexes = [
            # Modality, date and name stand in it so that a search by them reads the index alone.
            models.Index(
                fields=[
                    "clinic",
                    "edition",
                    "-listed_at",
                    "-id",
                    "modalities_in_study",
                    "study_date",
                    "patient_name_folded",
                ],
                name="study_by_date",
            ),
            models.Index(fields=["clinic", "edition", "patient_name_folded", "id"], name="study_by_name"),
            models.Index(fields=["clinic", "edition", "dicom_patient_id", "id"], name="study_by_patient_id"),
            models.Index(fields=["clinic", "edition", "accession_number", "id"], name="study_by_accession"),
            models.Index(fields=["clinic", "edition", "-created_at", "-id"], name="study_by_arrival"),
            models.Index(fields=["id"], condition=models.Q(lost_instance_count__gt=0), name="study_damaged"),
        ]

    @property
    def trail_reference(self) -> str:
        """What this is in the audit trail."""
        return self.source_reference or self.public_id

    def audit_reference(self) -> ObjectReference:
        """Name this study in the audit trail."""
        return ObjectReference(
            "study",
            self.public_id,
            patient_reference=self.patient.trail_reference,
            study_reference=self.trail_reference,
        )

    @property
    def modalities(self) -> list[str]:
        """The values of ModalitiesInStudy (0008,0061)."""
        return [modality for modality in self.modalities_in_study.split("\\") if modality]

    @property
    def readable_referrer(self) -> str:
        """ReferringPhysicianName (0008,0090) as people write it."""
        return naming.readable(self.referring_physician_name)


class StudyTerm(ClinicOwned):
    """One folded word by whose beginning a study is found: of the name, the PatientID, the accession number."""

    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="terms")
    term = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "term", "study"], name="study_term_once")]
        indexes = [
            # LIKE 'abc%' needs this class of operators where the database sorts by a language (PostgreSQL).
            models.Index(fields=["clinic", "term"], opclasses=["", "varchar_pattern_ops"], name="study_term_prefix")
        ]


class Series(InEdition):
    """A series of a study; its metadata of all instances is one blob, made once."""

    public_id = PublicIdField()
    study = models.ForeignKey(Study, on_delete=models.PROTECT, related_name="series")
    series_instance_uid = models.CharField(max_length=64)
    modality = models.CharField(max_length=16, blank=True)
    series_number = models.IntegerField(null=True, blank=True)
    series_description = models.CharField(max_length=64, blank=True)
    body_part_examined = models.CharField(max_length=16, blank=True)
    series_date = models.DateField(null=True, blank=True)
    series_time = models.TimeField(null=True, blank=True)
    # Of the instance that came first: says what to call a series without pixels.
    sop_class_uid = models.CharField(max_length=64, blank=True)
    has_pixels = models.BooleanField(default=False)
    number_of_series_related_instances = models.PositiveIntegerField(default=0)
    number_of_frames = models.PositiveIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)
    metadata_blob = models.ForeignKey(Blob, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # How many instances the metadata blob covers: another number than there are means that it is stale.
    metadata_instance_count = models.PositiveIntegerField(default=0)
    thumbnail_blob = models.ForeignKey(Blob, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    thumbnail_instance_count = models.PositiveIntegerField(default=0)
    # Grows when an instance gets other bytes: what was being prepared of the ones before is thrown away.
    version = models.PositiveIntegerField(default=0)
    # A job that prepares metadata and thumbnail is waiting; set so that a series in arrival is not queued once a batch.
    is_preparation_queued = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        # Careless software gives two studies one Series Instance UID; both are kept, each in its study.
        constraints = [
            models.UniqueConstraint(fields=["clinic", "study", "series_instance_uid"], name="series_uid_in_study")
        ]
        indexes = [models.Index(fields=["clinic", "edition", "series_instance_uid"], name="series_by_uid")]

    def audit_reference(self) -> ObjectReference:
        """Name this series in the audit trail."""
        return ObjectReference(
            "series",
            self.public_id,
            patient_reference=self.study.patient.trail_reference,
            study_reference=self.study.trail_reference,
        )

    @property
    def kind(self) -> sop_classes.Kind:
        """What a person would do with its objects."""
        return sop_classes.kind(self.sop_class_uid)

    @property
    def readable_class(self) -> str:
        """What to call a series that has no description: its SOP class."""
        return sop_classes.name(self.sop_class_uid) or str(_("Series"))


class Instance(InEdition):
    """One SOP instance: its facts, its blob, and where its frames lie in it."""

    series = models.ForeignKey(Series, on_delete=models.PROTECT, related_name="instances")
    blob = models.OneToOneField(Blob, on_delete=models.PROTECT, related_name="+")
    sop_instance_uid = models.CharField(max_length=64)
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    instance_number = models.IntegerField(null=True, blank=True)
    rows = models.PositiveIntegerField(null=True, blank=True)
    columns = models.PositiveIntegerField(null=True, blank=True)
    bits_allocated = models.PositiveIntegerField(null=True, blank=True)
    # 0 for an object without pixels.
    number_of_frames = models.PositiveIntegerField(default=0)
    # apps.dicom.frames.PixelIndex.to_bytes(): where each frame lies in the blob.
    pixel_index = models.BinaryField(null=True)
    size_bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "edition", "sop_instance_uid"], name="instance_uid")]
        indexes = [models.Index(fields=["series", "instance_number", "id"], name="instance_order")]

    def audit_reference(self) -> ObjectReference:
        """Name this instance in the audit trail, by its DICOM UID: it has no page and no other name."""
        study = self.series.study
        return ObjectReference(
            "instance",
            self.sop_instance_uid,
            patient_reference=study.patient.trail_reference,
            study_reference=study.trail_reference,
        )


class Document(ClinicOwned):
    """A clinical document attached to a study, or to a patient: PDF, JPEG or PNG, recognised by its content."""

    public_id = PublicIdField()
    study = models.ForeignKey(Study, on_delete=models.PROTECT, null=True, blank=True, related_name="documents")
    # Of a document that belongs to no study. Who was merged keeps theirs, which are shown with whom they became.
    patient = models.ForeignKey(Patient, on_delete=models.PROTECT, null=True, blank=True, related_name="documents")
    blob = models.OneToOneField(Blob, on_delete=models.PROTECT, related_name="+")
    title = models.CharField(max_length=200)
    media_type = models.CharField(max_length=60)
    # The DICOM object that was made of it.
    instance = models.ForeignKey(Instance, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["study", "created_at"], name="document_of_study"),
            models.Index(fields=["patient", "created_at"], name="document_of_patient"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(study__isnull=True) ^ models.Q(patient__isnull=True), name="document_has_one_owner"
            )
        ]

    @property
    def readable_type(self) -> str:
        """The kind of file, in one word."""
        return {"application/pdf": "PDF", "image/jpeg": "JPEG", "image/png": "PNG"}.get(self.media_type, "")

    @property
    def is_picture(self) -> bool:
        """Whether it is a photograph."""
        return self.media_type.startswith("image/")

    @property
    def owner(self) -> Patient:
        """The patient it belongs to, as patients stand now."""
        if self.study is not None:
            return self.study.patient
        if self.patient is None:
            raise ValueError("A document belongs to a study or a patient.")
        return self.patient.merged_into or self.patient

    def audit_reference(self) -> ObjectReference:
        """Name this document in the audit trail."""
        return ObjectReference(
            "document",
            self.public_id,
            patient_reference=self.owner.trail_reference,
            study_reference=self.study.trail_reference if self.study else "",
        )


IN_USE = models.Q(study__isnull=True) | models.Q(study__edition="")
"""Of documents: those whose study is not in the recycle bin."""


class Correction(ClinicOwned):
    """Something a person put right about whom studies are of; the journal from which it is taken back.

    Files keep what they say of themselves: a correction moves rows and never touches a byte. A series is never moved:
    each of its files names its study, and the two would contradict each other in every answer.
    """

    class Kind(models.TextChoices):
        """What was put right."""

        MERGE = "merge", _("Two patients made one")
        SPLIT = "split", _("One patient made two")
        MOVE = "move", _("A study given to another patient")

    public_id = PublicIdField()
    kind = models.CharField(max_length=6, choices=Kind.choices)
    # From whom to whom. The patient that a split made goes when it is taken back.
    source = models.ForeignKey(Patient, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    target = models.ForeignKey(Patient, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # What was granted so that people with access to the source alone keep what they saw: [membership, study] pairs.
    added_grants = models.JSONField(default=list, blank=True)
    created_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    undone_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["clinic", "-created_at"], name="corrections_by_date")]
        constraints = [
            models.UniqueConstraint(
                fields=["source"], condition=models.Q(kind="merge", undone_at=None), name="one_merge_of_a_patient"
            )
        ]

    def audit_reference(self) -> ObjectReference:
        """Name this correction in the audit trail."""
        return ObjectReference(
            "correction", self.public_id, patient_reference=self.target.public_id if self.target else ""
        )


class CorrectedStudy(ClinicOwned):
    """One study that a correction gave to another patient."""

    correction = models.ForeignKey(Correction, on_delete=models.CASCADE, related_name="studies")
    study = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="corrections")
    from_patient = models.ForeignKey(Patient, on_delete=models.SET_NULL, null=True, related_name="+")
    to_patient = models.ForeignKey(Patient, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["correction", "study"], name="corrected_once")]


class DeletedStudy(ClinicOwned):
    """A study in the recycle bin: an edition of its own, named by this row's public id, until restored or gone."""

    public_id = PublicIdField()
    study = models.ForeignKey(Study, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    study_reference = models.CharField(max_length=22)
    instance_count = models.PositiveIntegerField(default=0)
    deleted_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    deleted_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    restored_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["clinic", "-deleted_at"], name="deleted_studies_by_date")]

    def audit_reference(self) -> ObjectReference:
        """Name it in the audit trail, as the study it was and will be."""
        return ObjectReference("study", self.study_reference, study_reference=self.study_reference)
