"""The people whose studies a clinic keeps."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, InEdition, PublicIdField
from apps.patients import naming


class Patient(InEdition):
    """A patient as the headers name them (PS3.3 C.7.1.1).

    Issuer and PatientID name a person, unless name or birth date contradict: then there are two rows, both in doubt,
    and a person decides. Without a PatientID, name and birth date together name a person, else a study stands alone.
    A patient that was merged into another keeps its row, so that what arrives in its name is known, and that it can be
    had back; it has no studies.
    """

    public_id = PublicIdField()
    # A digest of what told this patient from the others when the row was made: two uploads at once make one row.
    identity_key = models.CharField(max_length=64, editable=False)
    dicom_patient_id = models.CharField(max_length=64, blank=True)
    issuer_of_patient_id = models.CharField(max_length=64, blank=True)
    patient_name = models.CharField(max_length=324, blank=True)
    patient_name_folded = models.CharField(max_length=324, blank=True)
    patient_birth_date = models.DateField(null=True, blank=True)
    patient_sex = models.CharField(max_length=16, blank=True)
    # Whether somebody has to say who this is; follows from the flags (services.refresh_doubts), kept for the lists.
    is_identity_in_doubt = models.BooleanField(default=False)
    # Always the last of them: who is merged into somebody who is merged in turn points to the final one.
    merged_into = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="merged_patients"
    )
    # Of a de-identified copy: the public id of the patient it was made from, by whom the audit trail goes on counting.
    source_reference = models.CharField(max_length=22, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "edition", "identity_key"], name="patient_identity")]
        indexes = [models.Index(fields=["clinic", "edition", "dicom_patient_id"], name="patient_by_dicom_id")]

    @property
    def trail_reference(self) -> str:
        """Who this is in the audit trail."""
        return self.source_reference or self.public_id

    def audit_reference(self) -> ObjectReference:
        """Name this patient in the audit trail without saying who it is."""
        return ObjectReference("patient", self.public_id, patient_reference=self.trail_reference)

    @property
    def current(self) -> Patient:
        """The patient itself, or the one it was merged into."""
        return self.merged_into or self

    @property
    def readable_name(self) -> str:
        """The name as people write it, or words that say there is none."""
        return naming.readable(self.patient_name) or str(_("No name"))

    @property
    def readable_sex(self) -> str:
        """PatientSex (0010,0040) in words; anything but the defined terms as it stands."""
        terms = {"M": _("male"), "F": _("female"), "O": _("other")}
        return str(terms.get(self.patient_sex.upper(), self.patient_sex))


class IdentityFlag(ClinicOwned):
    """Two patients that contradict each other: one PatientID with two names or birth dates, or one study with both.

    Open until somebody says that they are two people; once they are merged there is nothing left to say.
    """

    class Reason(models.TextChoices):
        """What brought them together."""

        PATIENT_ID = "patient-id", _("The same patient ID came with another name or birth date")
        STUDY = "study", _("Images of one study name two patients")

    public_id = PublicIdField()
    # The older row first, so that a pair is one row whichever way round it is met.
    patient = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="+")
    other = models.ForeignKey(Patient, on_delete=models.CASCADE, related_name="+")
    reason = models.CharField(max_length=12, choices=Reason.choices)
    # The study whose images name both, by its public id: studies stand above this room.
    study_reference = models.CharField(max_length=22, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "patient", "other"], name="identity_flag_of_a_pair")]
        indexes = [models.Index(fields=["clinic", "resolved_at", "-created_at"], name="identity_flags_open")]

    @classmethod
    def open_ones(cls) -> QuerySet[Any]:
        """Return the flags that wait for somebody, with `first_id` and `second_id`: whom they are about by now."""
        by_now = cls.objects.filter(resolved_at=None).annotate(
            first_id=Coalesce("patient__merged_into_id", "patient_id"),
            second_id=Coalesce("other__merged_into_id", "other_id"),
        )
        return by_now.exclude(first_id=F("second_id"))

    def audit_reference(self) -> ObjectReference:
        """Name the older patient in the audit trail; the other stands among the details."""
        return ObjectReference("identity", self.public_id, patient_reference=self.patient.public_id)
