"""The counter of what a clinic has stored: plaintext bytes and blobs, quarantined ones too, destroyed ones not."""

from django.db import IntegrityError, transaction
from django.db.models import F

from apps.storage.models import Usage


def add_usage(clinic_id: int, stored_bytes: int, blob_count: int) -> None:
    """Add to a clinic's counter (or take away), in the caller's transaction, which must hold the blobs' rows too.

    The counter's row stays locked until that transaction ends: call it last.
    """
    row = Usage.objects.filter(clinic_id=clinic_id)
    change = {"stored_bytes": F("stored_bytes") + stored_bytes, "blob_count": F("blob_count") + blob_count}
    if row.update(**change):
        return
    try:
        with transaction.atomic():
            Usage.objects.create(clinic_id=clinic_id, stored_bytes=stored_bytes, blob_count=blob_count)
    except IntegrityError:
        # Somebody else wrote the clinic's first blob at the same time.
        row.update(**change)


def used_bytes_of(clinic_id: int) -> int:
    """Return the counter, 0 before the first blob; one query."""
    found = Usage.objects.filter(clinic_id=clinic_id).values_list("stored_bytes", flat=True).first()
    return found or 0
