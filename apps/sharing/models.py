"""Studies handed to somebody outside by a link."""

from __future__ import annotations

from django.db import models

from apps.access.services import ObjectReference
from apps.clinics.models import ClinicOwned
from apps.links.models import Link
from apps.studies.models import Study


class ShareLink(ClinicOwned):
    """What a link shows: its studies (all of one patient), a note to the recipient, whether they may download."""

    link = models.OneToOneField(Link, on_delete=models.PROTECT, related_name="+")
    studies = models.ManyToManyField(Study, related_name="+")
    note = models.CharField(max_length=500, blank=True)
    may_download = models.BooleanField(default=False)

    def audit_reference(self) -> ObjectReference:
        """Name this link in the audit trail."""
        return ObjectReference("link", self.link.public_id)
