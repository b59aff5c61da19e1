"""Studies handed to somebody outside by a link."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned, PublicIdField
from apps.links.models import Link
from apps.studies.models import Study


class ShareLink(ClinicOwned):
    """What a link shows: its studies (all of one patient), a note to the recipient, and what the recipient may do."""

    link = models.OneToOneField(Link, on_delete=models.PROTECT, related_name="+")
    studies = models.ManyToManyField(Study, related_name="+")
    # The patient's public id when the link was made: priors of nobody else are shown, whatever is moved later.
    patient_reference = models.CharField(max_length=22, blank=True)
    # For whom it is, in the clinic's words; nothing of it is shown before opening.
    recipient = models.CharField(max_length=120, blank=True)
    note = models.CharField(max_length=500, blank=True)
    may_download = models.BooleanField(default=False)
    # Earlier studies of the same patient are shown beside the shared ones.
    may_see_priors = models.BooleanField(default=False)
    # Handed to the patient: she sees who opened it, and passes on links of her own.
    may_pass_on = models.BooleanField(default=False)
    # Name and purpose are asked for before it opens.
    asks_recipient = models.BooleanField(default=False)
    is_watermarked = models.BooleanField(default=False)
    # Of an anonymised link: the copy it shows (apps.deidentification), and nothing else of the clinic; else "".
    edition = models.CharField(max_length=22, blank=True, editable=False)
    notifies_opening = models.BooleanField(default=False)

    @property
    def is_anonymised(self) -> bool:
        """Whether it shows an anonymised copy."""
        return bool(self.edition)

    def audit_reference(self) -> ObjectReference:
        """Name this link in the audit trail."""
        return ObjectReference("link", self.link.public_id)


class Visit(ClinicOwned):
    """What somebody said of themselves when a link opened; the trail's records of that session belong to it."""

    public_id = PublicIdField()
    share = models.ForeignKey(ShareLink, on_delete=models.PROTECT, related_name="visits")
    session_hash = models.CharField(max_length=64, db_index=True)
    recipient = models.CharField(max_length=120)
    purpose = models.CharField(max_length=200, blank=True)
    opened_at = models.DateTimeField(default=timezone.now, editable=False)
