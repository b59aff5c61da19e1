"""A certificate of destruction: what was destroyed, since when nobody can read it, and what it cannot reach; signed.

It is checked as a receipt is (`apps.exports.receipts`): Ed25519 over a line that says what it is and the rest as
canonical JSON. It names nobody: a patient by the public id that the trail has.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext as _

from apps.clinics.models import Clinic
from apps.exports.signing import signed
from apps.storage.models import Erasure
from apps.storage.services import last_key_copy_at, locked_bytes_until

FORMAT: Final = "viewbox-destruction-1"


def certificate_of(erasure: Erasure, clinic: Clinic) -> dict[str, Any]:
    """Return the certificate of an erasure as JSON values; raises KeyUnavailableError. Needs the clinic's scope."""
    gone_at = last_key_copy_at(erasure.erased_at)
    locked_until = locked_bytes_until(erasure.content["blobs"])
    certificate: dict[str, Any] = {
        "format": FORMAT,
        "issuer": str(settings.BASE_URL),
        "clinic": {"reference": clinic.public_id, "name": clinic.name},
        "erasure": erasure.public_id,
        "what": {"kind": erasure.kind, "reference": erasure.reference},
        "erased_at": _instant(erasure.erased_at),
        "destroyed": {
            "studies": len(erasure.content["studies"]),
            "objects": erasure.blob_count,
            "bytes": erasure.size_bytes,
            "how": _(
                "Each object had a key of its own. The keys were destroyed; without them no copy can be decrypted "
                "(cryptographic erase, NIST SP 800-88)."
            ),
        },
        "list_of_erasures": sorted(erasure.places),
        "last_key_copy_gone_at": _instant(gone_at),
        "ciphertext_kept_until": _instant(locked_until) if locked_until else None,
        "not_reached": [
            _("Copies of the database up to %(days)d days old, until then: only who has the master key reads them.")
            % {"days": settings.BACKUP_DAYS},
            _("Rescue kits, archives, discs and pictures that were taken along before."),
            _("What was sent to other systems by DICOM, mail or on paper."),
            _("The audit trail: it names nobody, and keeps who did what."),
        ],
    }
    return signed("destruction", certificate)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")
