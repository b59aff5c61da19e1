"""The keyring: wrapped data keys and what is said of their blobs, a copy in every place, apart from the blobs.

A page is one sealed object (`apps.keys.services.seal_portable`) in the folder `keyring` of a place; it holds some
thousand entries and all that is needed to use them but the master key: clinics and the clinics' wrapped keys. New blobs
get new pages within seconds. A page of which something was destroyed, or of which other things are said now, is written
anew without that, and names the page whose place it takes; the old one goes from every place, from a locked one as soon
as its lock ends.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.keys.models import ClinicKey
from apps.keys.services import master_fingerprint, open_portable, seal_portable
from apps.storage.copies import all_places, note_trouble
from apps.storage.errors import BlobExistsError, BlobMissingError, StorageError
from apps.storage.models import Blob, KeyringPage
from apps.storage.places import Place, place_named

log = logging.getLogger(__name__)

FOLDER: Final = "keyring"
USE: Final = "keyring"
DERIVED: Final = ("metadata", "thumbnail", "export")
"""Kinds that are made again from the others and need no copy of their key."""
PAGE_ENTRIES: Final = 2000
SMALL_PAGE: Final = 200
MANY_SMALL_PAGES: Final = 40

Describe = Callable[[Sequence[Blob]], Mapping[int, dict[str, Any]]]
_describers: list[Describe] = []


def describes(function: Describe) -> Describe:
    """Register what says of blobs, by their row's id, what only the database knows; called without any scope."""
    _describers.append(function)
    return function


def say_anew(blobs: QuerySet[Blob]) -> None:
    """Let the keyring say of these blobs what is true now, soon; in the caller's transaction."""
    KeyringPage.objects.filter(blobs__in=blobs).update(is_stale=True)
    blobs.update(page=None)


def write_due() -> int:
    """Write what the keyring lacks, and anew what is no longer true; return how many entries were written."""
    with _alone() as is_alone, every_clinic():
        if not is_alone:
            return 0
        replaced = list(_replaceable())
        Blob.objects.filter(page__in=replaced).update(page=None)
        due = Blob.objects.filter(state=Blob.State.STORED, page=None).exclude(kind__in=DERIVED).order_by("pk")
        written = 0
        batch = list(due[:PAGE_ENTRIES])
        while batch or replaced:
            after = list(due.filter(pk__gt=batch[-1].pk)[:PAGE_ENTRIES]) if batch else []
            # Only the last page says so: until it is there, the others are still needed.
            if not _write_page(batch, replaced if not after else []):
                break
            written += len(batch)
            if not after:
                break
            batch = after
        return written


def tend() -> None:
    """Bring pages to places that lack them, look that they open, and remove those whose place was taken."""
    with _alone() as is_alone, every_clinic():
        if is_alone:
            for page in KeyringPage.objects.filter(superseded_at=None, is_stale=False):
                _spread(page)
            _remove_superseded()


def remove_superseded() -> None:
    """Remove pages whose place was taken from every place that lets them go."""
    with _alone() as is_alone, every_clinic():
        if is_alone:
            _remove_superseded()


def page_folder(place: str) -> Place:
    """Return the keyring's folder of a place."""
    return place_named(place).below(FOLDER)


def open_page(name: str, sealed: bytes, known: dict[bytes, bytes] | None = None) -> dict[str, Any]:
    """Return what a page says; raises SealBrokenError and KeyUnavailableError."""
    content: dict[str, Any] = json.loads(zlib.decompress(open_portable(USE, name, sealed, known)))
    return content


def refresh() -> None:
    """Write what is due and remove what was replaced, now."""
    write_due()
    remove_superseded()


@contextmanager
def _alone() -> Iterator[bool]:
    with (Path(settings.DATA_DIR) / "keyring.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _replaceable() -> QuerySet[KeyringPage]:
    """Return the pages that must be written anew: no longer true, never finished, of another master key, too small."""
    present = master_fingerprint()
    living = KeyringPage.objects.filter(superseded_at=None)
    wrong = Q(is_stale=True) | Q(places=[]) | ~Q(master_fingerprint=present)
    small = living.filter(entry_count__lt=SMALL_PAGE, entry_count__gt=0)
    if small.count() > MANY_SMALL_PAGES:
        wrong |= Q(pk__in=small.values("pk"))
    return living.filter(wrong)


def _write_page(batch: Sequence[Blob], replaced: Sequence[KeyringPage]) -> bool:
    """Write one page; it counts once one place has it, and says whether it does."""
    page = KeyringPage.objects.create(
        master_fingerprint=master_fingerprint(), entry_count=len(batch), superseded_at=None
    )
    # Claimed before it is asked what is true: whatever changes from here on makes the page stale.
    with transaction.atomic():
        ids = [blob.pk for blob in batch]
        rows = list(Blob.objects.select_for_update().filter(pk__in=ids, state=Blob.State.STORED).order_by("pk"))
        Blob.objects.filter(pk__in=[row.pk for row in rows]).update(page=page)
    gone = {each.public_id for each in (*replaced, *KeyringPage.objects.filter(superseded_at__isnull=False))}
    sealed = seal_portable(
        USE, page.object_name, zlib.compress(json.dumps(_content(page, rows, sorted(gone))).encode())
    )
    places, locked_until = [], None
    for alias in all_places():
        try:
            locked_until = _put(alias, page.object_name, sealed) or locked_until
            places.append(alias)
        except StorageError as error:
            note_trouble(alias, error)
            log.warning("a page of the keyring is not in every place yet", extra={"place": alias, "code": error.code})
    if not places:
        return False
    now = timezone.now()
    with transaction.atomic():
        KeyringPage.objects.filter(pk=page.pk).update(places=places, entry_count=len(rows), locked_until=locked_until)
        KeyringPage.objects.filter(pk__in=[each.pk for each in replaced]).update(superseded_at=now)
    return True


def _content(page: KeyringPage, blobs: Sequence[Blob], supersedes: list[str]) -> dict[str, Any]:
    facts: dict[int, dict[str, Any]] = defaultdict(dict)
    for describe in _describers:
        for pk, said in describe(blobs).items():
            facts[pk] |= said
    keys = ClinicKey.objects.filter(pk__in={blob.clinic_key_id for blob in blobs}, wrapped__isnull=False)
    return {
        "format": 1,
        "page": page.public_id,
        "written_at": page.created_at.isoformat(),
        "supersedes": supersedes,
        "clinics": [
            {
                "id": clinic.pk,
                "public_id": clinic.public_id,
                "slug": clinic.slug,
                "name": clinic.name,
                "locale": clinic.locale,
                "time_zone": clinic.time_zone,
            }
            for clinic in Clinic.objects.filter(pk__in={blob.clinic_id for blob in blobs})
        ],
        "keys": [
            {
                "id": key.pk,
                "clinic": key.clinic_id,
                "purpose": key.purpose,
                "wrapped": _text(key.wrapped or b""),
                "master_fingerprint": key.master_fingerprint,
                "is_primary": key.is_primary,
                "created_at": key.created_at.isoformat(),
            }
            for key in keys
        ],
        "blobs": [
            {
                "public_id": blob.public_id,
                "clinic": blob.clinic_id,
                "kind": blob.kind,
                "size_bytes": blob.size_bytes,
                "ciphertext_bytes": blob.ciphertext_bytes,
                "sha256": _text(blob.sha256),
                "header": _text(blob.header),
                "wrapped_key": _text(blob.wrapped_key or b""),
                "clinic_key": blob.clinic_key_id,
                "place": blob.place,
                "created_at": blob.created_at.isoformat(),
                "facts": facts[blob.pk],
            }
            for blob in blobs
        ],
    }


def _text(data: bytes | memoryview) -> str:
    return base64.b64encode(bytes(data)).decode()


def _put(alias: str, name: str, sealed: bytes) -> datetime | None:
    """Store a page; return until when the place refuses to delete it. Never longer than copies of keys are kept."""
    place = page_folder(alias)
    try:
        place.write_many([(name, sealed)])
    except BlobExistsError:
        if read_object(place, name) != sealed:
            raise
    if not settings.REPLICA_LOCK_DAYS.get(alias):
        return None
    until = timezone.now() + timedelta(days=settings.BACKUP_DAYS)
    place.lock(name, until)
    return until


def read_object(place: Place, name: str) -> bytes:
    """Return a small object whole; raises BlobMissingError or PlaceUnavailableError."""
    size = place.size(name)
    if size is None:
        raise BlobMissingError
    with closing(place.open(name, size)) as stored:
        return bytes(stored.read(0, size))


def _spread(page: KeyringPage) -> None:
    """Look at a page in every place; write it where it is missing or damaged, from one where it is not."""
    good: list[str] = []
    sealed = b""
    for alias in all_places():
        try:
            found = read_object(page_folder(alias), page.object_name)
            open_page(page.object_name, found)
            good.append(alias)
            sealed = found
        except (BlobMissingError, SealBrokenError, zlib.error):
            log.error("a page of the keyring is damaged or missing", extra={"place": alias})
        except (StorageError, KeyUnavailableError) as error:
            log.warning("the keyring cannot be looked at: %s", error.code)
            return
    locked_until = page.locked_until
    for alias in [each for each in all_places() if each not in good]:
        if not good:
            break
        try:
            page_folder(alias).delete([page.object_name])
            locked_until = _put(alias, page.object_name, sealed) or locked_until
            good.append(alias)
        except StorageError as error:
            note_trouble(alias, error)
    _prolong(page, good)
    # Nowhere whole any more: written anew from the database, as long as that is there.
    KeyringPage.objects.filter(pk=page.pk).update(places=good, is_stale=not good)


def _prolong(page: KeyringPage, places: Sequence[str]) -> None:
    keep = timedelta(days=settings.BACKUP_DAYS)
    if page.locked_until and page.locked_until < timezone.now() + keep / 2:
        for alias in places:
            if settings.REPLICA_LOCK_DAYS.get(alias):
                page_folder(alias).lock(page.object_name, timezone.now() + keep)
        KeyringPage.objects.filter(pk=page.pk).update(locked_until=timezone.now() + keep)


def _remove_superseded() -> None:
    for page in KeyringPage.objects.filter(superseded_at__isnull=False):
        left = []
        is_locked = page.locked_until is not None and page.locked_until > timezone.now()
        # Once gone from a place it is not asked for there again.
        for alias in page.places or all_places():
            if is_locked and settings.REPLICA_LOCK_DAYS.get(alias):
                # Asked again when its time is over: until then the answer is known.
                left.append(alias)
                continue
            try:
                page_folder(alias).purge([page.object_name])
            except StorageError:
                left.append(alias)
        if not left:
            page.delete()
        elif left != page.places:
            KeyringPage.objects.filter(pk=page.pk).update(places=left)
    if not KeyringPage.objects.filter(superseded_at__isnull=False).exists():
        # A page without entries only said that others are gone; now they are.
        KeyringPage.objects.filter(superseded_at=None, entry_count=0, is_stale=False).exclude(places=[]).update(
            superseded_at=timezone.now()
        )
