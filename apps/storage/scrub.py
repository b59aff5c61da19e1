"""Every stored byte read again within a week, decrypted, and compared: rot is found before anybody needs the image."""

import logging
import time
from datetime import timedelta

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from apps.clinics.scoping import every_clinic
from apps.keys.errors import KeyUnavailableError
from apps.storage.copies import all_places, note_trouble
from apps.storage.data_keys import data_key_of
from apps.storage.errors import BlobDestroyedError, CorruptBlobError, PlaceUnavailableError
from apps.storage.models import Blob, Copy, Usage
from apps.storage.replication import Work, check, lock, save_copies

log = logging.getLogger(__name__)

CYCLE = timedelta(days=7)
HEADROOM = 2.0
"""How much faster than needed the scrub goes, so that a machine that was off for some nights catches up."""
LEAST_BYTES = 256 * 1024 * 1024
SHORTEST_AGE = timedelta(days=1)
"""What was checked this recently is left alone: a small installation is not read over and over."""
BATCH = 64


def scrub_due(every: timedelta, seconds: float) -> int:
    """Check the copies that were looked at longest ago, in each place as much as the cycle asks; return how many.

    Called once ``every`` so often; stops after about ``seconds`` and goes on where it stopped next time.
    """
    deadline = time.monotonic() + seconds
    with every_clinic():
        total = Usage.objects.aggregate(total=Sum("stored_bytes"))["total"] or 0
        budget = max(LEAST_BYTES, int(total * HEADROOM * every / CYCLE))
        return sum(_scrub_place(place, budget, deadline) for place in all_places())


def _scrub_place(place: str, budget: int, deadline: float) -> int:
    checked = 0
    before = timezone.now() - SHORTEST_AGE
    while budget > 0 and time.monotonic() < deadline:
        due = Copy.objects.filter(place=place, state=Copy.State.GOOD, checked_at__lt=before)
        batch = list(due.filter(blob__state=Blob.State.STORED).order_by("checked_at").select_related("blob")[:BATCH])
        if not batch:
            break
        works = []
        for copy in batch:
            if budget <= 0 or time.monotonic() > deadline:
                break
            try:
                work = Work(copy.blob, data_key_of(copy.blob), {place: copy})
                if check(work, place):
                    lock(work, place)
            except PlaceUnavailableError as error:
                note_trouble(place, error)
                budget = 0
                break
            except (BlobDestroyedError, KeyUnavailableError, CorruptBlobError) as error:
                log.error("a blob is not checked: its key does not open", extra={"code": error.code})
                work = None
            if work:
                works.append(work)
                budget -= copy.blob.ciphertext_bytes
        _note(works)
        checked += len(works)
        if len(works) < len(batch):
            break
    return checked


def _note(works: list[Work]) -> None:
    with transaction.atomic():
        damaged = [work.blob.pk for work in works if work.damaged]
        Blob.objects.filter(pk__in=damaged, state=Blob.State.STORED).update(copied_at=None)
        save_copies(works)
