"""A receipt of a view: the record with its proof, signed, to be checked by anybody without us."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from django.conf import settings
from django.http import HttpResponse

from apps.audit.errors import AuditUnavailableError
from apps.audit.models import AuditEvent
from apps.audit.services import NotSealedError, proof_of
from apps.clinics.models import Clinic
from apps.exports.signing import signed

FORMAT: Final = "viewbox-receipt-1"


def receipt_of(event: AuditEvent, clinic: Clinic) -> dict[str, Any]:
    """Return the receipt as JSON values; the check is described beside the public keys and done by a short script.

    The signature covers `signing.message_of` the rest. Raises NotSealedError and KeyUnavailableError.
    """
    receipt = {
        "format": FORMAT,
        "issuer": str(settings.BASE_URL),
        "clinic": {"reference": clinic.public_id, "name": clinic.name},
        "words": event.verb_words,
        "proof": proof_of(event),
    }
    return signed("receipt", receipt)


def fingerprint(public_key: bytes) -> str:
    """Return what people compare: the first 16 bytes of the key's SHA-256, in groups of four digits."""
    digits = hashlib.sha256(public_key).hexdigest()[:32]
    return " ".join(digits[start : start + 4] for start in range(0, 32, 4))


def receipt_response(event: AuditEvent, clinic: Clinic) -> HttpResponse:
    """Return the receipt as a file; raises AuditUnavailableError (503) while another process is sealing."""
    try:
        receipt = receipt_of(event, clinic)
    except NotSealedError as error:
        raise AuditUnavailableError from error
    response = HttpResponse(json.dumps(receipt, indent=1, sort_keys=True), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="receipt-{event.timestamp:%Y%m%d-%H%M%S}.json"'
    return response
