"""Hand out receipts of views, and what checks them."""

from __future__ import annotations

import base64

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from apps.access.services import ObjectReference, authorise
from apps.accounts.roles import Capability
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.exports.receipts import fingerprint, receipt_response
from apps.exports.signing import public_keys


class Recorded:
    """A record of the trail as the gate wants objects: named by itself, seen by who sees what it is about."""

    def __init__(self, event: AuditEvent) -> None:
        self.event = event

    @property
    def clinic_id(self) -> int:
        """The clinic whose trail it stands in."""
        return self.event.clinic_id or 0

    def audit_reference(self) -> ObjectReference:
        """Name the record, and whose study it is about."""
        event = self.event
        return ObjectReference("event", event.public_id, event.patient_reference, event.study_reference)


@require_safe
def audit_receipt(request: HttpRequest, clinic_slug: str, event_id: str) -> HttpResponse:
    """Send the receipt of one record of the clinic's trail."""
    clinic: Clinic = request.clinic  # type: ignore[attr-defined]
    event = get_object_or_404(AuditEvent, public_id=event_id, clinic_id=clinic.pk)
    authorise(request, Capability.AUDIT_READ, Recorded(event), verb="receipt.issued")
    return receipt_response(event, clinic)


@require_safe
def receipts(request: HttpRequest) -> HttpResponse:
    """Publish the keys that sign here, and how to check a receipt."""
    keys = [
        {
            "fingerprint": fingerprint(key.value),
            "public_key": base64.b64encode(key.value).decode(),
            "since": key.since,
            "is_primary": key.is_primary,
        }
        for key in public_keys()
    ]
    context = {"keys": keys, "script_url": static("receipts/verify_receipt.py")}
    return render(request, "exports/receipts.html", context)
