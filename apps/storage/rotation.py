"""New keys for what is stored already, while it is being read (NIST SP 800-57, 5.3: the end of a cryptoperiod)."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction
from django.db.models import QuerySet

from apps.clinics.models import Clinic, make_public_id
from apps.keys.services import retire_clinic_keys, rotate_clinic_key, wrap_data_keys
from apps.storage.data_keys import data_key_of
from apps.storage.keyring import say_anew
from apps.storage.models import Blob, Copy
from apps.storage.reader import BlobReader
from apps.storage.services import destroy
from apps.storage.sources import Sources
from apps.storage.writer import BlobWriter

BATCH = 200
CHUNK_BYTES = 1024 * 1024
WINDOW_BYTES = 4 * 1024 * 1024


def renew_clinic_key(clinic: Clinic) -> Iterator[int]:
    """Give the clinic a new key and wrap every data key by it, a batch at a time; yield how many are done.

    The former keys are destroyed at the end. Broken off, the next call goes on. Nothing that is stored is rewritten.
    Raises KeyUnavailableError, and CorruptBlobError for a blob whose key does not open. Needs the clinic's scope.
    """
    primary = rotate_clinic_key(clinic)
    done = 0
    former = Blob.objects.filter(clinic=clinic, state=Blob.State.STORED).exclude(clinic_key_id=primary.pk)
    while count := _wrap_anew(clinic, former):
        done += count
        yield done
    retire_clinic_keys(clinic, keep=set(_living(clinic).values_list("clinic_key_id", flat=True).distinct()))


def renew_data_keys(clinic: Clinic) -> Iterator[int]:
    """Encrypt everything the clinic has stored anew, each blob under a key of its own; yield how many are done.

    The old bytes are destroyed with their keys. Raises what reading and writing raise. Needs the clinic's scope.
    """
    newest = _living(clinic).order_by("-pk").values_list("pk", flat=True).first() or 0
    stored = Blob.objects.filter(clinic=clinic, state=Blob.State.STORED, pk__lte=newest).order_by("pk")
    done = last = 0
    while batch := list(stored.filter(pk__gt=last)[:BATCH]):
        for blob in batch:
            last = blob.pk
            renew_data_key(clinic, blob)
            done += 1
        yield done


def renew_data_key(clinic: Clinic, blob: Blob) -> bool:
    """Encrypt one blob anew; return whether it was still there to be replaced. Readers that have it open go on."""
    with BlobReader(Sources(blob, data_key_of(blob))) as reader, BlobWriter(clinic, blob.kind) as writer:
        for chunk in reader.iterate(0, reader.size, CHUNK_BYTES, WINDOW_BYTES):
            writer.write(chunk)
        if writer.sha256 != bytes(blob.sha256):
            raise AssertionError("Authentic bytes have the digest they were stored with.")
        fresh = writer.commit()
    with transaction.atomic():
        living = Blob.objects.select_for_update().filter(pk=blob.pk, public_id=blob.public_id)
        present = living.filter(state=Blob.State.STORED).first()
        if present:
            _swap(present, fresh)
        # What carries the old name and the old key now, or came too late: gone from every place.
        destroy([fresh])
    return present is not None


def _swap(present: Blob, fresh: Blob) -> None:
    """Let two rows change their bytes: names, keys and places; what refers to a row stays as it is."""
    fields = ["public_id", "header", "wrapped_key", "clinic_key_id", "ciphertext_bytes", "place"]
    old, new = ({field: getattr(row, field) for field in fields} for row in (present, fresh))
    rows = Blob.objects.all()
    rows.filter(pk=fresh.pk).update(public_id=make_public_id())
    say_anew(rows.filter(pk=present.pk))
    rows.filter(pk=present.pk).update(**new, copied_at=None)
    rows.filter(pk=fresh.pk).update(**old)
    Copy.objects.filter(blob=present).delete()
    fresh.refresh_from_db()


def _living(clinic: Clinic) -> QuerySet[Blob]:
    return Blob.objects.filter(clinic=clinic, wrapped_key__isnull=False)


def _wrap_anew(clinic: Clinic, former: QuerySet[Blob]) -> int:
    with transaction.atomic():
        batch = list(former.select_for_update().order_by("pk")[:BATCH])
        keys = [(data_key_of(blob), blob.associated_data) for blob in batch]
        for blob, wrapped in zip(batch, wrap_data_keys(clinic.pk, keys) if keys else [], strict=True):
            blob.wrapped_key, blob.clinic_key_id = wrapped.wrapped, wrapped.clinic_key_id
        Blob.objects.bulk_update(batch, ["wrapped_key", "clinic_key_id"])
        say_anew(Blob.objects.filter(pk__in=[blob.pk for blob in batch]))
    return len(batch)
