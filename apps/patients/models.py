"""The people whose studies a clinic keeps."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, PublicIdField


class Patient(ClinicOwned):
    """A patient as the headers name them (PS3.3 C.7.1.1); unique by issuer and PatientID within a clinic."""

    public_id = PublicIdField()
    # What tells two patients apart: issuer and PatientID, or a derived key where the header has none.
    identity_key = models.CharField(max_length=160, editable=False)
    dicom_patient_id = models.CharField(max_length=64, blank=True, db_index=True)
    issuer_of_patient_id = models.CharField(max_length=64, blank=True)
    patient_name = models.CharField(max_length=324, blank=True)
    patient_name_folded = models.CharField(max_length=324, blank=True)
    patient_birth_date = models.DateField(null=True, blank=True)
    patient_sex = models.CharField(max_length=16, blank=True)
    is_identity_in_doubt = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "identity_key"], name="patient_identity")]

    def audit_reference(self) -> ObjectReference:
        """Name this patient in the audit trail without saying who it is."""
        return ObjectReference("patient", self.public_id, patient_reference=self.public_id)
