"""Wrap data keys for a clinic, seal small secrets, take keyed digests. Only data keys leave in the clear."""

import hmac
import secrets
import threading
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic, require_scope_of
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.keys.escrow import join, split
from apps.keys.master import (
    KEY_BYTES,
    create_master_key_file,
    derive,
    fingerprint,
    load_master_key,
    load_previous_master_key,
    write_once,
)
from apps.keys.models import ClinicKey, InstallationKey
from apps.keys.wrapping import unwrap, wrap

__all__ = [
    "BackupKey",
    "WrappedKey",
    "backup_key",
    "check_master_key",
    "create_clinic_key",
    "create_master_key_file",
    "destroy_clinic_keys",
    "forget_clinic_keys",
    "keyed_digest",
    "load_master_key",
    "master_fingerprint",
    "open_backup_key",
    "open_portable",
    "open_secret",
    "retire_clinic_keys",
    "rotate_clinic_key",
    "rotate_master_key",
    "seal_portable",
    "seal_secret",
    "through_paper",
    "unwrap_data_key",
    "wrap_data_key",
    "wrap_data_keys",
    "write_once",
]

PORTABLE = b"VBP1"
CACHE_SECONDS = 300
"""How long a process keeps an unwrapped clinic key."""


@dataclass(frozen=True)
class WrappedKey:
    """A data key under a clinic's key: what may be stored."""

    clinic_key_id: int
    wrapped: bytes


@dataclass(frozen=True)
class BackupKey:
    """The key of what is copied away of the database, and how the master key wraps it."""

    key_id: bytes
    key: bytes
    wrapped: bytes
    master_fingerprint: bytes


@dataclass(frozen=True)
class _OpenedKey:
    clinic_id: int
    key: bytes
    expires_at: float


_opened: dict[int, _OpenedKey] = {}
_opened_roots: dict[str, tuple[bytes, float]] = {}
_opened_lock = threading.Lock()


def check_master_key() -> None:
    """Raise KeyUnavailableError if there is no master key, or not the one the clinics' keys were wrapped by."""
    _require_right_master(load_master_key())


def create_clinic_key(clinic: Clinic) -> None:
    """Give a clinic its keys, one for what is stored and one for quarantine; those it has are left alone.

    Raises KeyUnavailableError, also when the master key at hand is not the installation's.
    """
    for purpose in ClinicKey.Purpose:
        _primary_key(clinic.pk, purpose)


def wrap_data_key(clinic_id: int, data_key: bytes, context: bytes, *, is_quarantined: bool = False) -> WrappedKey:
    """Wrap one 32-byte data key under the clinic's present key; `context` (what the key is for) is bound to it.

    Raises KeyUnavailableError. Needs the clinic's scope.
    """
    return wrap_data_keys(clinic_id, [(data_key, context)], is_quarantined=is_quarantined)[0]


def wrap_data_keys(
    clinic_id: int, keys: Sequence[tuple[bytes, bytes]], *, is_quarantined: bool = False
) -> list[WrappedKey]:
    """Wrap many (data key, context) pairs with one query, as `wrap_data_key` does one."""
    purpose = ClinicKey.Purpose.QUARANTINE if is_quarantined else ClinicKey.Purpose.STORED
    row = _primary_key(clinic_id, purpose)
    key = _opened_key(clinic_id, row.pk, row)
    return [
        WrappedKey(row.pk, wrap(key, data_key, _data_key_context(clinic_id, row.pk, context)))
        for data_key, context in keys
    ]


def unwrap_data_key(clinic_id: int, clinic_key_id: int, wrapped: bytes, context: bytes) -> bytes:
    """Return the 32-byte data key.

    Raises KeyUnavailableError if the clinic's key cannot be had, SealBrokenError if the wrapped key was tampered
    with or belongs to another context or clinic. Needs the clinic's scope.
    """
    key = _opened_key(clinic_id, clinic_key_id)
    return unwrap(key, wrapped, _data_key_context(clinic_id, clinic_key_id, context))


def seal_secret(purpose: str, plaintext: bytes) -> bytes:
    """Encrypt a small secret (a TOTP seed, say); only the same purpose opens it.

    Returns 29 bytes more than it is given. Raises KeyUnavailableError.
    """
    return wrap(
        derive(_installation_key(InstallationKey.Purpose.SECRETS), f"secret {purpose}"), plaintext, purpose.encode()
    )


def open_secret(purpose: str, sealed: bytes) -> bytes:
    """Decrypt what `seal_secret` made for this purpose.

    Raises KeyUnavailableError under another master key, SealBrokenError for anything tampered with.
    """
    key = derive(_installation_key(InstallationKey.Purpose.SECRETS), f"secret {purpose}")
    return unwrap(key, bytes(sealed), purpose.encode())


def keyed_digest(purpose: str, data: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA-256 of the data, under a key of the purpose's own. Raises KeyUnavailableError."""
    return hmac.digest(derive(_installation_key(InstallationKey.Purpose.DIGESTS), f"digest {purpose}"), data, sha256)


def backup_key() -> BackupKey:
    """Return the key that copies of the database are encrypted with. Raises KeyUnavailableError.

    Its wrapped form goes along with each copy: with the master key alone everything can be opened again. A new master
    key wraps the same key, so that older copies open with what goes along with newer ones.
    """
    key = _installation_key(InstallationKey.Purpose.BACKUPS)
    row = InstallationKey.objects.get(pk=InstallationKey.Purpose.BACKUPS)
    return BackupKey(fingerprint(key), key, bytes(row.wrapped), bytes.fromhex(row.master_fingerprint))


def through_paper(master_key: bytes) -> bytes:
    """Return the key as it comes back from its sheets of words: split into shares, and joined of some of them."""
    sheets = split(master_key, threshold=2, count=3)
    return join(" ".join(sheet.words) for sheet in sheets[1:])


def open_backup_key(wrapped: bytes, master_fingerprint: bytes) -> bytes:
    """Return the key that goes along, wrapped, with a copy; needs the master key and no database.

    Raises KeyUnavailableError if it was wrapped by another master key, SealBrokenError if it was damaged.
    """
    master = _masters().get(master_fingerprint.hex())
    if master is None:
        raise KeyUnavailableError(_wrong_master())
    return unwrap(derive(master, "installation key"), wrapped, _installation_context(InstallationKey.Purpose.BACKUPS))


def seal_portable(use: str, name: str, plaintext: bytes) -> bytes:
    """Seal something small for a use, under a name, so that the master key alone opens it: no database is asked.

        sealed = "VBP1" || key id (8) || master fingerprint (8) || length of the wrapped key (1) || wrapped key || box

    The box is AES-256-GCM (`apps.keys.wrapping`) under a key derived from the backup key for this use. Raises
    KeyUnavailableError.
    """
    key = backup_key()
    prefix = PORTABLE + key.key_id + key.master_fingerprint + bytes([len(key.wrapped)]) + key.wrapped
    return prefix + wrap(derive(key.key, use), plaintext, _portable_context(use, name))


def open_portable(use: str, name: str, sealed: bytes, known: dict[bytes, bytes] | None = None) -> bytes:
    """Return what was sealed for this use under this name.

    `known`: backup keys by id, added to; what was sealed under a former master key opens with the key that goes along
    with what was sealed since. Raises SealBrokenError for anything else, KeyUnavailableError under another master key.
    """
    start = len(PORTABLE)
    if len(sealed) <= start + 16 or not sealed.startswith(PORTABLE):
        raise SealBrokenError
    key_id, of_master = sealed[start : start + 8], sealed[start + 8 : start + 16]
    end = start + 17 + sealed[start + 16]
    keys = {} if known is None else known
    if key_id not in keys:
        keys[key_id] = open_backup_key(sealed[start + 17 : end], of_master)
    return unwrap(derive(keys[key_id], use), sealed[end:], _portable_context(use, name))


def _portable_context(use: str, name: str) -> bytes:
    return f"viewbox portable, format 1, {use}, {name}".encode()


def master_fingerprint() -> str:
    """Return what tells this master key from another, as rows note it. Raises KeyUnavailableError."""
    return fingerprint(load_master_key()).hex()


def destroy_clinic_keys(clinic: Clinic, made_until: datetime) -> list[int]:
    """Destroy all keys that a clinic had by then for good; return their ids. Needs its scope."""
    living = ClinicKey.objects.filter(clinic=clinic, wrapped__isnull=False, created_at__lte=made_until)
    gone = sorted(living.values_list("pk", flat=True))
    living.update(wrapped=None, is_primary=False, destroyed_at=timezone.now())
    forget_clinic_keys()
    return gone


def rotate_clinic_key(clinic: Clinic) -> ClinicKey:
    """Make a new key for what the clinic stores from now on; the old ones stay until nothing is wrapped by them.

    Raises KeyUnavailableError. Needs the clinic's scope.
    """
    master = load_master_key()
    _require_right_master(master)
    with transaction.atomic():
        stored = ClinicKey.objects.filter(clinic=clinic, purpose=ClinicKey.Purpose.STORED)
        list(stored.select_for_update())
        stored.update(is_primary=False)
        row = _new_clinic_key(clinic.pk, ClinicKey.Purpose.STORED, master)
        row.save(force_insert=True)
    return row


def retire_clinic_keys(clinic: Clinic, keep: Container[int]) -> int:
    """Destroy the clinic's former keys but those that still wrap something (``keep``, their ids); return how many."""
    former = ClinicKey.objects.filter(clinic=clinic, is_primary=False, wrapped__isnull=False)
    gone = [row.pk for row in former if row.pk not in keep]
    ClinicKey.objects.filter(pk__in=gone).update(wrapped=None, destroyed_at=timezone.now())
    forget_clinic_keys()
    return len(gone)


def rotate_master_key() -> int:
    """Wrap every key that the previous master key wrapped by the present one; return how many.

    Whoever runs with both keys reads throughout. Raises KeyUnavailableError: if either key is not at hand, or if any
    key is wrapped by a third one; nothing is changed then.
    """
    present = load_master_key()
    _masters()
    count = 0
    with every_clinic(), transaction.atomic():
        _require_right_master(present)
        for row in InstallationKey.objects.select_for_update().exclude(master_fingerprint=fingerprint(present).hex()):
            key = unwrap(
                derive(_master_of(row), "installation key"), bytes(row.wrapped), _installation_context(row.purpose)
            )
            row.wrapped = wrap(derive(present, "installation key"), key, _installation_context(row.purpose))
            row.master_fingerprint = fingerprint(present).hex()
            row.save(update_fields=["wrapped", "master_fingerprint"])
            count += 1
        others = ClinicKey.objects.select_for_update().filter(wrapped__isnull=False)
        for clinic_key in others.exclude(master_fingerprint=fingerprint(present).hex()):
            context = _clinic_key_context(clinic_key.clinic_id, clinic_key.pk, clinic_key.purpose)
            key = unwrap(derive(_master_of(clinic_key), "clinic key"), bytes(clinic_key.wrapped or b""), context)
            clinic_key.wrapped = wrap(derive(present, "clinic key"), key, context)
            clinic_key.master_fingerprint = fingerprint(present).hex()
            clinic_key.save(update_fields=["wrapped", "master_fingerprint"])
            count += 1
    forget_clinic_keys()
    return count


def forget_clinic_keys() -> None:
    """Drop the unwrapped keys that this process holds."""
    with _opened_lock:
        _opened.clear()
        _opened_roots.clear()


def _wrong_master() -> str:
    return _(
        "This is not the master key that the stored data was encrypted with: put the right one back "
        "(PORTAL_MASTER_KEY_FILE or PORTAL_MASTER_KEY). Nothing was changed."
    )


def _masters() -> dict[str, bytes]:
    """Return the master keys at hand by fingerprint: the present one, and during a rotation the previous one."""
    present, previous = load_master_key(), load_previous_master_key()
    return {fingerprint(key).hex(): key for key in (previous, present) if key is not None}


def _master_of(row: ClinicKey | InstallationKey) -> bytes:
    try:
        return _masters()[row.master_fingerprint]
    except KeyError:
        raise KeyUnavailableError(_wrong_master()) from None


def _require_right_master(master: bytes) -> None:
    known = {*_masters(), fingerprint(master).hex()}
    with every_clinic():
        is_foreign = ClinicKey.objects.filter(wrapped__isnull=False).exclude(master_fingerprint__in=known).exists()
    if is_foreign or InstallationKey.objects.exclude(master_fingerprint__in=known).exists():
        raise KeyUnavailableError(_wrong_master())


def _installation_context(purpose: str) -> bytes:
    return f"viewbox installation key, purpose {purpose}".encode()


def _installation_key(purpose: str) -> bytes:
    """Return a key of the installation, made on first use, from this process's memory if it was used lately."""
    opened = _opened_roots.get(purpose)
    if opened and opened[1] > time.monotonic():
        return opened[0]
    row = InstallationKey.objects.filter(pk=purpose).first()
    if row is None:
        master = load_master_key()
        _require_right_master(master)
        wrapped = wrap(
            derive(master, "installation key"), secrets.token_bytes(KEY_BYTES), _installation_context(purpose)
        )
        # Somebody else may be faster: theirs counts then.
        row, _is_new = InstallationKey.objects.get_or_create(
            purpose=purpose, defaults={"wrapped": wrapped, "master_fingerprint": fingerprint(master).hex()}
        )
    key = unwrap(derive(_master_of(row), "installation key"), bytes(row.wrapped), _installation_context(purpose))
    _opened_roots[purpose] = (key, time.monotonic() + CACHE_SECONDS)
    return key


def _clinic_key_context(clinic_id: int, key_id: int, purpose: str) -> bytes:
    return f"viewbox clinic key, clinic {clinic_id}, key {key_id}, purpose {purpose}".encode()


def _data_key_context(clinic_id: int, key_id: int, context: bytes) -> bytes:
    return f"viewbox data key, clinic {clinic_id}, key {key_id}, for ".encode() + context


def _primary_key(clinic_id: int, purpose: str) -> ClinicKey:
    """Return the row new data keys are wrapped under, made on first use."""
    require_scope_of(clinic_id)
    wanted = ClinicKey.objects.filter(clinic_id=clinic_id, purpose=purpose, is_primary=True)
    if found := wanted.first():
        return found
    master = load_master_key()
    _require_right_master(master)
    row = _new_clinic_key(clinic_id, purpose, master)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        # Somebody else was faster.
        return wanted.get()
    return row


def _new_clinic_key(clinic_id: int, purpose: str, master: bytes) -> ClinicKey:
    row = ClinicKey(clinic_id=clinic_id, purpose=purpose, master_fingerprint=fingerprint(master).hex())
    row.wrapped = wrap(
        derive(master, "clinic key"), secrets.token_bytes(KEY_BYTES), _clinic_key_context(clinic_id, row.pk, purpose)
    )
    return row


def _opened_key(clinic_id: int, clinic_key_id: int, row: ClinicKey | None = None) -> bytes:
    """Return an unwrapped clinic key, from this process's memory if it was used in the last minutes."""
    require_scope_of(clinic_id)
    now = time.monotonic()
    opened = _opened.get(clinic_key_id)
    if opened and opened.expires_at > now and opened.clinic_id == clinic_id:
        return opened.key
    row = row or ClinicKey.objects.filter(pk=clinic_key_id, clinic_id=clinic_id).first()
    if row is None or row.wrapped is None:
        raise KeyUnavailableError(_("The clinic's key is gone: what was encrypted with it cannot be read any more."))
    context = _clinic_key_context(clinic_id, clinic_key_id, row.purpose)
    key = unwrap(derive(_master_of(row), "clinic key"), bytes(row.wrapped), context)
    with _opened_lock:
        for stale in [each for each, kept in _opened.items() if kept.expires_at <= now]:
            del _opened[stale]
        _opened[clinic_key_id] = _OpenedKey(clinic_id, key, now + CACHE_SECONDS)
    return key
