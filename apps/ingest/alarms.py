"""Mail to those who answer for a clinic, when something arrived that means harm."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.urls import reverse

from apps.accounts.models import Membership
from apps.accounts.roles import Role
from apps.ingest.errors import InfectedError
from apps.ingest.models import Upload, UploadBatch
from apps.notices.services import send_mail


def is_first(batch: UploadBatch) -> bool:
    """Return whether nothing harmful was written down of this batch so far: its owners get one mail, not thousands."""
    return not Upload.objects.filter(batch=batch, code=InfectedError.code).exists()


def tell_owners(batch: UploadBatch, signatures: Sequence[str]) -> None:
    """Tell the clinic's owners that the virus scanner found something, in the caller's transaction.

    The mail names what the scanner calls it and where to look, neither the file nor a patient.
    """
    page_url = f"{settings.BASE_URL}{reverse('upload-batch', args=[batch.clinic.slug, batch.public_id])}"
    owners = Membership.objects.filter(clinic=batch.clinic, role=Role.OWNER, user__is_active=True)
    for address in owners.values_list("user__email", flat=True):
        send_mail(address, "infected_upload", {"url": page_url, "signatures": signatures, "clinic": batch.clinic.name})
