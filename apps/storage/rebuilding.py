"""The storage's rows from the keyring alone: clinics, their wrapped keys, and the blobs that some place still has.

What the database knows already is left alone, and what was destroyed stays so: pages whose place was taken do not
count, nor does what the erasure list names.
"""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.core.management.color import no_style
from django.db import connection, transaction
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.keys.models import ClinicKey
from apps.keys.services import master_fingerprint
from apps.storage.copies import all_places, note_trouble
from apps.storage.erasures import Entry, read_entries
from apps.storage.errors import PlaceUnavailableError, StorageError
from apps.storage.keyring import open_page, page_folder, read_object
from apps.storage.models import Blob, KeyringPage
from apps.storage.places import PRIMARY, batches, object_name, place_named
from apps.storage.usage import add_usage

log = logging.getLogger(__name__)

BATCH: Final = 200


@dataclass
class Keyring:
    """What all pages say together."""

    clinics: dict[int, dict[str, Any]] = field(default_factory=dict)
    keys: dict[int, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """By clinic, then by public id."""
    pages: list[str] = field(default_factory=list)
    superseded: set[str] = field(default_factory=set)
    erased: list[Entry] = field(default_factory=list)
    erased_blob_count: int = 0
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """One blob that was given its row, and what the keyring says of it."""

    blob: Blob
    facts: dict[str, Any]


def read_keyring() -> Keyring:
    """Read the keyring and the erasure list of every place; needs the master key and no database.

    Raises KeyUnavailableError if it does not open with this master key, PlaceUnavailableError if no place answers.
    """
    master_fingerprint()
    keyring = Keyring(erased=read_entries())
    contents = _read_pages(keyring)
    keyring.superseded = {name for content in contents.values() for name in content["supersedes"]}
    for content in sorted(contents.values(), key=lambda each: str(each["written_at"])):
        if content["page"] in keyring.superseded:
            continue
        keyring.clinics |= {clinic["id"]: clinic for clinic in content["clinics"]}
        keyring.keys |= {key["id"]: key for key in content["keys"]}
        for blob in content["blobs"]:
            keyring.blobs.setdefault(blob["clinic"], {})[blob["public_id"]] = blob
    _leave_out_erased(keyring)
    return keyring


def _read_pages(keyring: Keyring) -> dict[str, dict[str, Any]]:
    contents: dict[str, dict[str, Any]] = {}
    known: dict[bytes, bytes] = {}
    waiting: dict[str, bytes] = {}
    damaged: set[str] = set()
    answered = 0
    for alias in all_places():
        try:
            for name, sealed in _sealed_pages(alias, contents):
                try:
                    contents[name] = open_page(name, sealed, known)
                except KeyUnavailableError:
                    # Of a former master key: it opens with the key that goes along with a younger page.
                    waiting[name] = sealed
                except (SealBrokenError, zlib.error, ValueError):
                    damaged.add(name)
            answered += 1
        except PlaceUnavailableError as error:
            note_trouble(alias, error)
    if not answered:
        raise PlaceUnavailableError
    for name, sealed in waiting.items():
        if not known:
            open_page(name, sealed)
        try:
            contents[name] = open_page(name, sealed, known)
        except (KeyUnavailableError, SealBrokenError, zlib.error, ValueError):
            damaged.add(name)
    keyring.pages = [content["page"] for content in contents.values()]
    keyring.unreadable = sorted(damaged - contents.keys())
    return contents


def _sealed_pages(alias: str, seen: Container[str]) -> Iterator[tuple[str, bytes]]:
    place = page_folder(alias)
    for stored in place.list_objects():
        if stored.name not in seen:
            yield stored.name, read_object(place, stored.name)


def _leave_out_erased(keyring: Keyring) -> None:
    for entry in keyring.erased:
        of_clinic = keyring.blobs.get(entry.clinic, {})
        gone = set(entry.blobs) & of_clinic.keys()
        if entry.is_of_clinic:
            gone |= {name for name, blob in of_clinic.items() if blob["created_at"] <= entry.erased_at}
        for name in gone:
            del of_clinic[name]
        keyring.erased_blob_count += len(gone)


def restore_clinics(keyring: Keyring) -> list[Clinic]:
    """Give clinics and their keys the rows that are missing; return the clinics that are new.

    Raises ValueError if another clinic has the row or the short name of one.
    """
    made = []
    with every_clinic(), transaction.atomic():
        for pk, said in keyring.clinics.items():
            if not keyring.blobs.get(pk):
                continue
            present = Clinic.objects.filter(pk=pk).first()
            if present is not None and present.public_id != said["public_id"]:
                raise ValueError(f"The database has another clinic in the place of {said['slug']}.")
            if present is None:
                made.append(Clinic.objects.create(**said))
            for key in keyring.keys.values():
                if key["clinic"] == pk and not ClinicKey.objects.filter(pk=key["id"]).exists():
                    _restore_key(key)
        if made:
            _reset_sequence()
    return made


def _restore_key(key: dict[str, Any]) -> None:
    taken = ClinicKey.objects.filter(clinic_id=key["clinic"], purpose=key["purpose"], is_primary=True).exists()
    ClinicKey.objects.create(
        pk=key["id"],
        clinic_id=key["clinic"],
        purpose=key["purpose"],
        wrapped=base64.b64decode(key["wrapped"]),
        master_fingerprint=key["master_fingerprint"],
        is_primary=key["is_primary"] and not taken,
        created_at=datetime.fromisoformat(key["created_at"]),
    )


def _reset_sequence() -> None:
    """Let the next clinic get a number of its own: these brought theirs."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [Clinic]):
            cursor.execute(statement)


def restore_blobs(clinic: Clinic, keyring: Keyring, lost: list[str]) -> Iterator[list[Found]]:
    """Give the blobs of a clinic the rows that are missing, in the open scope; yield them in batches, oldest first.

    A blob whose bytes no place has is added to ``lost``. Nothing is decrypted here: the copies are looked at as those
    of new blobs are.
    """
    entries = sorted(keyring.blobs.get(clinic.pk, {}).values(), key=lambda each: str(each["created_at"]))
    for batch in batches(entries, BATCH):
        names = [entry["public_id"] for entry in batch]
        known = set(Blob.objects.filter(public_id__in=names).values_list("public_id", flat=True))
        rows = []
        for entry in batch:
            if entry["public_id"] in known:
                continue
            if _is_anywhere(entry):
                rows.append(entry)
            else:
                lost.append(entry["public_id"])
        if rows:
            yield _insert(clinic, rows)


def _insert(clinic: Clinic, entries: Sequence[dict[str, Any]]) -> list[Found]:
    blobs = [
        Blob(
            clinic=clinic,
            public_id=entry["public_id"],
            kind=entry["kind"],
            state=Blob.State.STORED,
            size_bytes=entry["size_bytes"],
            ciphertext_bytes=entry["ciphertext_bytes"],
            sha256=base64.b64decode(entry["sha256"]),
            header=base64.b64decode(entry["header"]),
            wrapped_key=base64.b64decode(entry["wrapped_key"]),
            clinic_key_id=entry["clinic_key"],
            place=entry["place"] if entry["place"] in all_places() else PRIMARY,
            created_at=datetime.fromisoformat(entry["created_at"]),
        )
        for entry in entries
    ]
    with transaction.atomic():
        blobs = Blob.objects.bulk_create(blobs)
        add_usage(clinic.pk, sum(blob.size_bytes for blob in blobs), len(blobs))
    return [Found(blob, entry["facts"]) for blob, entry in zip(blobs, entries, strict=True)]


def _is_anywhere(entry: dict[str, Any]) -> bool:
    name = object_name(entry["public_id"])
    for alias in dict.fromkeys([entry["place"], *all_places()]):
        try:
            if alias in all_places() and place_named(alias).size(name) == entry["ciphertext_bytes"]:
                return True
        except StorageError:
            continue
    return False


def adopt_pages(keyring: Keyring) -> None:
    """Give pages that the database does not know a row, so that new pages take their places and they go in time."""
    with every_clinic():
        for name in keyring.pages:
            is_over = name in keyring.superseded
            KeyringPage.objects.get_or_create(
                public_id=name,
                defaults={
                    "places": all_places(),
                    "is_stale": not is_over,
                    "superseded_at": timezone.now() if is_over else None,
                    "master_fingerprint": master_fingerprint(),
                },
            )
