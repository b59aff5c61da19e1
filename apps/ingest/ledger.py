"""The storage limit on the way in, and the names of the jobs that follow an arrival."""

from __future__ import annotations

from typing import Final

from django.db.models import Exists, OuterRef, Sum

from apps.billing.errors import LimitReachedError
from apps.billing.services import Limit, reserve
from apps.clinics.models import Clinic
from apps.ingest.errors import IngestError
from apps.ingest.models import Segment, Upload
from apps.storage import services as storage
from apps.storage.models import Blob

PROCESS: Final = "ingest.process"
EXPAND: Final = "ingest.expand"


class ReservationError(IngestError):
    """The clinic's plan has no room for a file; what is stored stays readable."""

    status = 413

    def __init__(self, error: LimitReachedError) -> None:
        super().__init__(error.code)
        self.code = error.code
        self.message = error.message


def reserve_storage(clinic: Clinic, size_bytes: int, *, freed_bytes: int = 0) -> None:
    """Hold room for `size_bytes` more until the caller's transaction ends; raises LimitReachedError.

    `freed_bytes`: what counts now and will be gone, an archive while it is opened.
    """
    reserve(
        clinic,
        Limit.STORAGE_BYTES,
        size_bytes,
        used=lambda: _claimed_bytes(clinic) - freed_bytes,
        at_most=lambda: storage.used_bytes(clinic) - freed_bytes,
    )


def _claimed_bytes(clinic: Clinic) -> int:
    """Count what is stored and what waits with a row; of two that race for the last place the second sees the first.

    Bytes that just arrived and have no row yet are left out: those of the caller come as its amount, and those of
    others must not keep it out, or of fifty that race none would pass.
    """
    rows, pieces = Upload.objects.filter(blob=OuterRef("pk")), Segment.objects.filter(blob=OuterRef("pk"))
    arriving = Blob.objects.filter(~Exists(rows), ~Exists(pieces), state=Blob.State.QUARANTINED)
    total = arriving.aggregate(total=Sum("size_bytes"))["total"]
    return storage.used_bytes(clinic) - int(total or 0)
