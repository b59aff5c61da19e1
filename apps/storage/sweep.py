"""What crashes and failures leave behind, found again and removed."""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from apps.clinics.scoping import every_clinic
from apps.storage.copies import all_places
from apps.storage.errors import StorageError
from apps.storage.models import Blob, Copy
from apps.storage.places import Place, StoredObject, batches, object_name, place_named

log = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(hours=1)
"""Bytes become visible moments before their row; nothing this old is on its way."""
YOUNG_ORPHAN_AGE = timedelta(minutes=5)
YOUNG = timedelta(minutes=30)
MANY_ORPHANS = 200
BATCH = 500
FEW_ORPHANS = 10


def delete_destroyed_bytes(blob_ids: Iterable[int] | None = None) -> int:
    """Delete the bytes of destroyed blobs (these, or all that are still due) and note it; return how many.

    What fails is logged and stays due.
    """
    with every_clinic():
        due = Blob.objects.filter(state=Blob.State.DESTROYED, bytes_deleted_at=None).order_by("pk")
        if blob_ids is None:
            return _delete_bytes_of(due)
        return sum(_delete_bytes_of(due.filter(pk__in=batch)) for batch in batches(blob_ids, BATCH))


def _delete_bytes_of(due: QuerySet[Blob]) -> int:
    deleted = last = 0
    while batch := list(due.filter(pk__gt=last).values_list("pk", "place", "public_id")[:BATCH]):
        last = batch[-1][0]
        for alias in {place for _, place, _ in batch}:
            chosen = [(pk, public_id) for pk, place, public_id in batch if place == alias]
            try:
                for each in dict.fromkeys([alias, *all_places()]):
                    place_named(each).delete(object_name(public_id) for _, public_id in chosen)
            except StorageError as error:
                log.warning("bytes of destroyed blobs not deleted yet: %s", error.code)
                continue
            ids = [pk for pk, _ in chosen]
            Copy.objects.filter(blob__in=ids).delete()
            deleted += Blob.objects.filter(pk__in=ids).update(bytes_deleted_at=timezone.now())
    return deleted


def hold_leftovers() -> None:
    """Remove nothing that has no row until `release_leftovers`: after a restore it may be what arrived last."""
    _hold().touch(mode=0o600)


def release_leftovers() -> bool:
    """Let what has no row be removed again; return whether it was held."""
    was_held = _hold().exists()
    _hold().unlink(missing_ok=True)
    return was_held


def _hold() -> Path:
    return Path(settings.DATA_DIR) / "leftovers.held"


def remove_young_leftovers(now: datetime | None = None) -> int:
    """Remove what crashes of the last half hour left on disks, without reading whole folders' worth of rows."""
    now = now or timezone.now()
    removed = 0
    if _hold().exists():
        return removed
    for alias in all_places():
        place = place_named(alias)
        if not place.lists_cheaply:
            continue
        before = now - YOUNG_ORPHAN_AGE
        removed += place.remove_unfinished(before)
        recent = (stored for stored in _older_than(place, before) if stored.modified_at > now - YOUNG)
        with every_clinic():
            orphans = [name for batch in batches(recent, BATCH) for name in _without_row(batch)]
        if len(orphans) > MANY_ORPHANS:
            log.error("the sweep found too many young objects without a row and removed none")
            continue
        place.delete(orphans)
        removed += len(orphans)
    return removed


def remove_leftovers(now: datetime | None = None) -> int:
    """Remove unfinished files, and objects older than an hour that no row names; return how many.

    Refuses, loudly, when most of the objects would go: then it is rather the database that is wrong (restored from
    an old backup, or another installation's), and deleting is the one thing that cannot be taken back.
    """
    if _hold().exists():
        return 0
    before = (now or timezone.now()) - ORPHAN_AGE
    return sum(_remove_leftovers_of(place_named(alias), before) for alias in all_places())


def _remove_leftovers_of(place: Place, before: datetime) -> int:
    removed = place.remove_unfinished(before)
    orphans: list[str] = []
    seen = 0
    with every_clinic():
        for batch in batches(_older_than(place, before), BATCH):
            seen += len(batch)
            orphans += _without_row(batch)
    if len(orphans) > max(FEW_ORPHANS, seen // 2):
        log.error("the sweep found too many objects without a row and removed none: check that the database is right")
        return removed
    place.delete(orphans)
    return removed + len(orphans)


def _older_than(place: Place, before: datetime) -> Iterator[StoredObject]:
    return (stored for stored in place.list_objects() if stored.modified_at < before)


def _without_row(batch: list[StoredObject]) -> list[str]:
    """Return the names that no row of a living blob has. Asked after the listing, so that no new row is missed."""
    public_ids = {stored.name.partition("/")[2]: stored.name for stored in batch}
    named = set(
        Blob.objects.filter(public_id__in=public_ids)
        .exclude(state=Blob.State.DESTROYED, bytes_deleted_at__isnull=False)
        .values_list("public_id", flat=True)
    )
    return [name for public_id, name in public_ids.items() if public_id not in named]
