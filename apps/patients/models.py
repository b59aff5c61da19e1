"""The people whose studies a clinic keeps."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, PublicIdField
from apps.patients import naming


class Patient(ClinicOwned):
    """A patient as the headers name them (PS3.3 C.7.1.1).

    Issuer and PatientID name a person, unless name or birth date contradict: then there are two rows, both in doubt,
    and a person decides. Without a PatientID, name and birth date together name a person, else a study stands alone.
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
    is_identity_in_doubt = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["clinic", "identity_key"], name="patient_identity")]
        indexes = [models.Index(fields=["clinic", "dicom_patient_id"], name="patient_by_dicom_id")]

    def audit_reference(self) -> ObjectReference:
        """Name this patient in the audit trail without saying who it is."""
        return ObjectReference("patient", self.public_id, patient_reference=self.public_id)

    @property
    def readable_name(self) -> str:
        """The name as people write it, or words that say there is none."""
        return naming.readable(self.patient_name) or str(_("No name"))

    @property
    def readable_sex(self) -> str:
        """PatientSex (0010,0040) in words; anything but the defined terms as it stands."""
        terms = {"M": _("male"), "F": _("female"), "O": _("other")}
        return str(terms.get(self.patient_sex.upper(), self.patient_sex))
