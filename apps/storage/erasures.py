"""The list of what was destroyed on purpose, in every place and outside the database: a restore destroys it once more.

It names public ids and nothing of a person. An entry is written before anything is destroyed, is never removed, and is
sealed, so that nobody without the master key can add to it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from apps.clinics.models import Clinic, make_public_id
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.keys.errors import SealBrokenError
from apps.keys.services import destroy_clinic_keys, open_portable, seal_portable
from apps.storage.copies import all_places, note_trouble
from apps.storage.errors import BlobExistsError, BlobMissingError, CorruptBlobError, PlaceUnavailableError, StorageError
from apps.storage.keyring import read_object
from apps.storage.models import Blob, Copy, Erasure, KeyringPage
from apps.storage.places import Place, batches, object_name, place_named

log = logging.getLogger(__name__)

FOLDER: Final = "erased"
USE: Final = "erasure"
BATCH: Final = 500


@dataclass(frozen=True)
class Entry:
    """One erasure as the places have it."""

    public_id: str
    kind: str
    reference: str
    """Public id of the study, the patient or the clinic."""
    clinic: int
    clinic_reference: str
    erased_at: str
    actor_kind: str = "system"
    actor_reference: str = ""
    studies: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)

    @property
    def is_of_clinic(self) -> bool:
        """Whether all of a clinic went, its keys too."""
        return self.kind == Erasure.Kind.CLINIC


def announce(entry: Entry) -> Erasure:
    """Write an erasure into the list of every place, before anything is destroyed, and its row.

    Raises PlaceUnavailableError unless at least one place has it; the clock brings it to the others. Needs the scope.
    """
    row = Erasure(
        clinic_id=entry.clinic,
        public_id=entry.public_id,
        kind=entry.kind,
        reference=entry.reference,
        content=asdict(entry),
        blob_count=len(entry.blobs),
        actor_kind=entry.actor_kind,
        actor_reference=entry.actor_reference,
        erased_at=datetime.fromisoformat(entry.erased_at),
    )
    row.places = _write(row.public_id, row.content, all_places())
    if not row.places:
        raise PlaceUnavailableError
    row.save(force_insert=True)
    return row


def new_entry(clinic: Clinic, kind: str, reference: str, **values: Any) -> Entry:
    """Return an entry of now."""
    return Entry(
        public_id=make_public_id(),
        kind=kind,
        reference=reference,
        clinic=clinic.pk,
        clinic_reference=clinic.public_id,
        erased_at=timezone.now().isoformat(),
        **values,
    )


def spread() -> None:
    """Bring entries to places that were away when they were written."""
    with every_clinic():
        for row in Erasure.objects.order_by("pk"):
            if missing := [alias for alias in all_places() if alias not in row.places]:
                row.places += _write(row.public_id, row.content, missing)
                Erasure.objects.filter(pk=row.pk).update(places=row.places)


def read_entries() -> list[Entry]:
    """Return what the lists of all places say, the oldest first; needs no database.

    A place that does not answer is passed over: every entry is in all of them. Raises PlaceUnavailableError if none
    answers. An entry that does not open in one place is taken from another; one that opens in none is logged.
    """
    found: dict[str, Entry] = {}
    damaged: set[str] = set()
    answered = 0
    for alias in all_places():
        try:
            _read_list(place_named(alias).below(FOLDER), found, damaged)
            answered += 1
        except PlaceUnavailableError as error:
            note_trouble(alias, error)
    if not answered:
        raise PlaceUnavailableError
    if lost := damaged - found.keys():
        log.critical("entries of the erasure list do not open", extra={"count": len(lost)})
    return sorted(found.values(), key=lambda entry: entry.erased_at)


def _read_list(place: Place, found: dict[str, Entry], damaged: set[str]) -> None:
    for stored in place.list_objects():
        if stored.name in found:
            continue
        try:
            sealed = read_object(place, stored.name)
            found[stored.name] = Entry(**json.loads(open_portable(USE, stored.name, sealed)))
        except (SealBrokenError, BlobMissingError, CorruptBlobError, ValueError, TypeError):
            damaged.add(stored.name)


def known_entries() -> list[Entry]:
    """Return what the database has of the list, the oldest first."""
    with every_clinic():
        return [Entry(**row.content) for row in Erasure.objects.order_by("erased_at")]


def remember(entry: Entry) -> None:
    """Give an entry that only the places have its row, in its clinic's open scope."""
    places = [alias for alias in all_places() if place_named(alias).below(FOLDER).exists(object_name(entry.public_id))]
    Erasure.objects.get_or_create(
        public_id=entry.public_id,
        defaults={
            "clinic_id": entry.clinic,
            "kind": entry.kind,
            "reference": entry.reference,
            "content": asdict(entry),
            "blob_count": len(entry.blobs),
            "actor_kind": entry.actor_kind,
            "actor_reference": entry.actor_reference,
            "erased_at": datetime.fromisoformat(entry.erased_at),
            "places": places,
        },
    )


def living_blobs(public_ids: Collection[str]) -> list[Blob]:
    """Return which of these blobs still have a key, in the open scope."""
    rows: list[Blob] = []
    for batch in batches(sorted(public_ids), BATCH):
        rows += Blob.objects.filter(public_id__in=batch, wrapped_key__isnull=False)
    return rows


def destroy_keys_of(clinic: Clinic, erased_at: datetime) -> int:
    """Destroy the keys that a clinic had then: whatever copy of a blob or of a data key is left opens no more."""
    with clinic_scope(clinic):
        return len(destroy_clinic_keys(clinic, erased_at))


def last_key_copy_at(since: datetime) -> datetime:
    """Return when the last copy of a key destroyed then is gone: of the keyring, and of copies of the database.

    A page that a place has locked stays until its lock ends; copies of the database are kept for PORTAL_BACKUP_DAYS.
    """
    locked = KeyringPage.objects.filter(superseded_at__isnull=False).aggregate(until=Max("locked_until"))["until"]
    kept = since + timedelta(days=settings.BACKUP_DAYS)
    return max(kept, locked) if locked else kept


def locked_bytes_until(public_ids: Sequence[str]) -> datetime | None:
    """Return until when some place keeps the ciphertext of these blobs, None if none does. Nobody can read it."""
    latest: datetime | None = None
    for batch in batches(public_ids, BATCH):
        until = Copy.objects.filter(blob__public_id__in=batch).aggregate(until=Max("locked_until"))["until"]
        latest = max(filter(None, (latest, until)), default=None)
    return latest


def _write(public_id: str, content: dict[str, Any], places: Iterable[str]) -> list[str]:
    name = object_name(public_id)
    sealed = seal_portable(USE, name, json.dumps(content).encode())
    written = []
    for alias in places:
        try:
            place_named(alias).below(FOLDER).write_many([(name, sealed)])
        except BlobExistsError:
            pass
        except StorageError as error:
            note_trouble(alias, error)
            continue
        written.append(alias)
    return written
