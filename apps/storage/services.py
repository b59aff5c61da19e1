"""Write, read, adopt and destroy blobs."""

import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Count, Exists, Min, OuterRef, QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string

from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.jobs.services import wake_periodic
from apps.keys.errors import KeyUnavailableError
from apps.keys.services import check_master_key, wrap_data_keys
from apps.storage.capacity import clinics_forecast, local_free_bytes, places_forecast
from apps.storage.copies import all_places, places_to_write
from apps.storage.crypto import HEADER_BYTES, Buffer, Decryptor, Encryptor
from apps.storage.data_keys import data_key_of
from apps.storage.erasures import Entry as ErasureEntry
from apps.storage.erasures import announce as announce_erasure
from apps.storage.erasures import destroy_keys_of, last_key_copy_at, living_blobs, locked_bytes_until
from apps.storage.erasures import known_entries as known_erasures
from apps.storage.erasures import new_entry as new_erasure
from apps.storage.erasures import read_entries as read_erasures
from apps.storage.erasures import remember as remember_erasure
from apps.storage.errors import BlobDestroyedError, PlaceFullError, PlaceUnavailableError, StorageError
from apps.storage.keyring import describes, say_anew
from apps.storage.keyring import refresh as write_keyring
from apps.storage.models import Blob, Copy, KeyringPage
from apps.storage.places import PRIMARY, Place, PlaceWriter, batches, object_name, place_named
from apps.storage.reader import BlobReader
from apps.storage.rebuilding import adopt_pages, read_keyring, restore_blobs, restore_clinics
from apps.storage.replication import copy_due, rebuild
from apps.storage.sources import Sources
from apps.storage.sweep import delete_destroyed_bytes, hold_leftovers, release_leftovers
from apps.storage.usage import add_usage, used_bytes_of
from apps.storage.writer import BlobWriter, write_bytes, write_group

__all__ = [
    "HEADER_BYTES",
    "PRIMARY",
    "BlobReader",
    "BlobWriter",
    "Decryptor",
    "Encryptor",
    "ErasureEntry",
    "Place",
    "PlaceWriter",
    "abandon",
    "adopt",
    "adopt_pages",
    "announce_erasure",
    "bucket_at",
    "check_room",
    "clinics_forecast",
    "copy_due",
    "describes",
    "destroy",
    "destroy_keys_of",
    "health",
    "hold_leftovers",
    "iterate_blob",
    "keeping",
    "known_erasures",
    "last_key_copy_at",
    "living_blobs",
    "locked_bytes_until",
    "new_erasure",
    "object_name",
    "open_blob",
    "place_named",
    "places_forecast",
    "places_report",
    "read_erasures",
    "read_keyring",
    "rebuild",
    "release_leftovers",
    "remember_erasure",
    "restore_blobs",
    "restore_clinics",
    "say_anew",
    "used_bytes",
    "write_ahead",
    "write_blob",
    "write_blobs",
    "write_keyring",
]

if TYPE_CHECKING:
    from apps.storage.bucket import Bucket

log = logging.getLogger(__name__)

LOCK_BATCH = 500


def write_blob(clinic: Clinic, kind: str, chunks: Iterable[Buffer], *, quarantined: bool = False) -> Blob:
    """Encrypt and store a stream of bytes; when this returns they are durable and their row is written.

    Raises KeyUnavailableError, PlaceFullError or PlaceUnavailableError; nothing remains then.
    """
    with BlobWriter(clinic, kind, quarantined) as writer:
        for chunk in chunks:
            writer.write(chunk)
        return writer.commit()


def write_blobs(clinic: Clinic, kind: str, contents: Sequence[Buffer], *, quarantined: bool = False) -> list[Blob]:
    """Store many small byte strings at once, in order, as `write_blob` does one: all or none get a row."""
    return write_group(clinic, kind, contents, quarantined=quarantined)


def write_ahead(clinic: Clinic, kind: str, contents: Sequence[Buffer]) -> list[Blob]:
    """Make small byte strings durable and return blobs for them that no row names yet.

    Either `keeping` gives them their rows, in the transaction that gives them their meaning, or `abandon` deletes
    the bytes; whatever a crash leaves in between, the sweep finds. Raises as `write_blob` does.
    """
    return write_bytes(clinic, kind, contents, quarantined=False)


@contextmanager
def keeping(blobs: Sequence[Blob]) -> Iterator[None]:
    """Give blobs of `write_ahead`, all of one clinic, their rows in the caller's transaction, around what uses them.

    The clinic's usage is counted at the end, since its row stays locked from then on.
    """
    Blob.objects.insert(blobs)
    yield
    if blobs:
        add_usage(blobs[0].clinic_id, sum(blob.size_bytes for blob in blobs), len(blobs))
        _copy_soon()


def abandon(blobs: Iterable[Blob]) -> None:
    """Delete the bytes of blobs of `write_ahead` that got no row, whatever became of the transaction that was to.

    Asks the rows: a commit whose answer was lost may have been made. What cannot be asked or deleted waits for the
    sweep.
    """
    given = {blob.public_id: blob for blob in blobs}
    if not given:
        return
    try:
        named = set(Blob.objects.filter(public_id__in=given).values_list("public_id", flat=True))
        for public_id in given.keys() - named:
            place_named(given[public_id].place).delete([given[public_id].object_name])
    except (StorageError, DatabaseError) as error:
        log.warning("bytes without a row are left to the sweep: %s", type(error).__name__)


def _copy_soon() -> None:
    if settings.REPLICAS:
        transaction.on_commit(partial(wake_periodic, "storage.copy"), robust=True)


def open_blob(blob: Blob) -> BlobReader:
    """Open a blob for reading.

    Raises BlobDestroyedError, BlobMissingError, CorruptBlobError or KeyUnavailableError. Needs the clinic's scope;
    the reader does not.
    """
    return BlobReader(Sources(blob, data_key_of(blob)))


def iterate_blob(blob: Blob, offset: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
    """Return an iterator over a range of a blob, for a streaming response.

    The blob is opened and the first chunk decrypted before this returns, so that what `open_blob` raises, and
    damage at the beginning, still become a status code.
    """
    reader = open_blob(blob)
    window_bytes = max(chunk_bytes, place_named(blob.place).window_bytes)
    pieces = reader.iterate(offset, reader.size if length is None else length, chunk_bytes, window_bytes)
    try:
        first = next(pieces, b"")
    except BaseException:
        reader.close()
        raise
    return _rest_of(reader, first, pieces)


def _rest_of(reader: BlobReader, first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with reader:
        if first:
            yield first
        yield from pieces


def adopt(blobs: Iterable[Blob]) -> None:
    """Take blobs out of quarantine: their data keys move to the clinic's stored key, the bytes are not touched.

    The rows and these objects change together; blobs stored already are left alone. Raises BlobDestroyedError if one
    of them is gone, CorruptBlobError or KeyUnavailableError if its key does not open.
    """
    given = {blob.pk: blob for blob in blobs}
    if not given:
        return
    with transaction.atomic():
        rows = list(_locked(given))
        if any(row.is_destroyed for row in rows) or len(rows) != len(given):
            raise BlobDestroyedError
        waiting = [row for row in rows if row.state == Blob.State.QUARANTINED]
        for clinic_id in {row.clinic_id for row in waiting}:
            chosen = [row for row in waiting if row.clinic_id == clinic_id]
            keys = [(data_key_of(row), row.associated_data) for row in chosen]
            for row, wrapped in zip(chosen, wrap_data_keys(clinic_id, keys), strict=True):
                row.wrapped_key, row.clinic_key_id = wrapped.wrapped, wrapped.clinic_key_id
                row.state = Blob.State.STORED
        if waiting:
            _update(waiting, ["wrapped_key", "clinic_key_id", "state"])
            _copy_soon()
    for row in rows:
        for field in ("wrapped_key", "clinic_key_id", "state"):
            setattr(given[row.pk], field, getattr(row, field))


def _update(rows: Sequence[Blob], fields: Sequence[str]) -> None:
    """Write these columns of locked rows, as an upsert: a tenth of what the CASE of bulk_update costs."""
    Blob.objects.bulk_create(
        rows, batch_size=LOCK_BATCH, update_conflicts=True, unique_fields=["id"], update_fields=fields
    )


def destroy(blobs: Iterable[Blob]) -> None:
    """Destroy blobs for good: their keys are wiped with the caller's transaction, the bytes deleted after it.

    Bytes that cannot be deleted then are tried again by the clock. Blobs destroyed already are left alone.
    """
    given = {blob.pk: blob for blob in blobs}
    if not given:
        return
    with transaction.atomic():
        living = [row for row in _locked(given) if not row.is_destroyed]
        change = {"state": Blob.State.DESTROYED, "wrapped_key": None, "destroyed_at": timezone.now()}
        for batch in batches([row.pk for row in living], LOCK_BATCH):
            Blob.objects.filter(pk__in=batch).update(**change)
        if pages := {row.page_id for row in living if row.page_id is not None}:
            KeyringPage.objects.filter(pk__in=pages).update(is_stale=True)
        for clinic_id in sorted({row.clinic_id for row in living}):
            gone = [row.size_bytes for row in living if row.clinic_id == clinic_id]
            add_usage(clinic_id, -sum(gone), -len(gone))
        if living:
            transaction.on_commit(partial(delete_destroyed_bytes, [row.pk for row in living]), robust=True)
    for row in living:
        for field, value in change.items():
            setattr(given[row.pk], field, value)


def bucket_at(name: str, folder: str, options: Mapping[str, Any]) -> "Bucket":
    """Return a folder of a bucket whose files have names of their own; `options` are those of django-storages.

    Nothing is asked of the service yet.
    """
    # Imported by name: an installation on a local disk never loads boto3.
    bucket: Bucket = import_string("apps.storage.bucket.Bucket").at(name, folder, options)
    return bucket


def used_bytes(clinic: Clinic) -> int:
    """Return the plaintext bytes a clinic has stored, quarantined ones included; one query."""
    return used_bytes_of(clinic.pk)


def check_room() -> None:
    """Raise PlaceFullError while less is free than is kept for everything but uploads: records, sign-ins, the database.

    Asked are the disk of the database and the place that the next upload is offered to first. A local disk is asked
    each time (one system call); a bucket says nothing of its room.
    """
    room = [local_free_bytes()]
    with suppress(PlaceUnavailableError):
        # One that does not answer is passed over by what is written, too.
        free_bytes = place_named(places_to_write()[0]).free_bytes()
        room += [] if free_bytes is None else [free_bytes]
    if min(room) < settings.MIN_FREE_BYTES:
        raise PlaceFullError


def health() -> dict[str, object]:
    """Try the master key and a small object in the primary place, and say how it went; never raises.

    Keys: ``is_ok``, ``code`` and ``message`` of the first fault (empty when well), ``free_bytes`` (None for S3),
    ``milliseconds``.
    """
    started = time.perf_counter()
    report: dict[str, object] = {"is_ok": True, "code": "", "message": "", "free_bytes": None}
    try:
        check_master_key()
        report["free_bytes"] = _probe_place()
    except (KeyUnavailableError, StorageError) as error:
        report |= {"is_ok": False, "code": error.code, "message": str(error)}
    except Exception as error:
        # A misconfigured place, say. The class tells enough; its text may hold what does not belong on a page.
        report |= {"is_ok": False, "code": StorageError.code, "message": type(error).__name__}
    report["milliseconds"] = round((time.perf_counter() - started) * 1000)
    return report


def places_report() -> list[dict[str, object]]:
    """Return how each place is, as counts that say nothing of a clinic.

    Keys: ``name``, ``good`` and ``damaged`` copies, ``waiting`` blobs that it has yet to get,
    ``oldest_waiting_seconds`` (0 without any), ``oldest_check_at``, ``free_bytes`` (None for S3), ``is_answering``.
    """
    with every_clinic():
        stored = Blob.objects.filter(state=Blob.State.STORED)
        due = stored.filter(copied_at=None)
        return [_report_of(alias, due) for alias in all_places()]


def _report_of(alias: str, due: QuerySet[Blob]) -> dict[str, object]:
    of_place = Copy.objects.filter(place=alias)
    good = of_place.filter(state=Copy.State.GOOD)
    waiting = due.exclude(place=alias).exclude(Exists(good.filter(blob=OuterRef("pk"))))
    counts = good.aggregate(count=Count("pk"), oldest=Min("checked_at"))
    lag = waiting.aggregate(count=Count("pk"), oldest=Min("created_at"))
    try:
        place = place_named(alias)
        place.exists(object_name(secrets.token_urlsafe(16)))
        free_bytes, is_answering = place.free_bytes(), True
    except StorageError:
        free_bytes, is_answering = None, False
    return {
        "name": alias,
        "good": counts["count"],
        "damaged": of_place.filter(state=Copy.State.DAMAGED).count(),
        "waiting": lag["count"],
        "oldest_waiting_seconds": round((timezone.now() - lag["oldest"]).total_seconds()) if lag["oldest"] else 0,
        "oldest_check_at": counts["oldest"],
        "free_bytes": free_bytes,
        "is_answering": is_answering,
    }


def _probe_place() -> int | None:
    place = place_named(PRIMARY)
    content = secrets.token_bytes(64)
    name = object_name(secrets.token_urlsafe(16))
    place.write_many([(name, content)])
    stored = place.open(name, len(content))
    try:
        if bytes(stored.read(0, len(content))) != content:
            raise StorageError
    finally:
        stored.close()
        place.delete([name])
    return place.free_bytes()


def _locked(given: dict[int, Blob]) -> Iterator[Blob]:
    """Yield the rows of these blobs as they are now, locked in the order of their ids."""
    for batch in batches(sorted(given), LOCK_BATCH):
        yield from Blob.objects.select_for_update().filter(pk__in=batch).order_by("pk")
