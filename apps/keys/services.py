"""Wrap data keys for a clinic, seal small secrets, take keyed digests. Only data keys leave in the clear."""

import hmac
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic, require_scope_of
from apps.keys.errors import KeyUnavailableError, SealBrokenError
from apps.keys.master import (
    FINGERPRINT_BYTES,
    KEY_BYTES,
    create_master_key_file,
    derive,
    fingerprint,
    load_master_key,
    write_once,
)
from apps.keys.models import ClinicKey
from apps.keys.wrapping import unwrap, wrap

__all__ = [
    "WrappedKey",
    "check_master_key",
    "create_clinic_key",
    "create_master_key_file",
    "forget_clinic_keys",
    "keyed_digest",
    "open_secret",
    "seal_secret",
    "unwrap_data_key",
    "wrap_data_key",
    "wrap_data_keys",
    "write_once",
]

CACHE_SECONDS = 300
"""How long a process keeps an unwrapped clinic key."""


@dataclass(frozen=True)
class WrappedKey:
    """A data key under a clinic's key: what may be stored."""

    clinic_key_id: int
    wrapped: bytes


@dataclass(frozen=True)
class _OpenedKey:
    clinic_id: int
    key: bytes
    expires_at: float


_opened: dict[int, _OpenedKey] = {}
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
    """Encrypt a small secret (a TOTP seed, say) under the master key; only the same purpose opens it.

    Returns 37 bytes more than it is given. Raises KeyUnavailableError.
    """
    master = load_master_key()
    return fingerprint(master) + wrap(derive(master, f"secret {purpose}"), plaintext, purpose.encode())


def open_secret(purpose: str, sealed: bytes) -> bytes:
    """Decrypt what `seal_secret` made for this purpose.

    Raises KeyUnavailableError under another master key, SealBrokenError for anything tampered with.
    """
    master = load_master_key()
    sealed = bytes(sealed)
    if len(sealed) <= FINGERPRINT_BYTES:
        raise SealBrokenError
    if not hmac.compare_digest(sealed[:FINGERPRINT_BYTES], fingerprint(master)):
        raise KeyUnavailableError(_wrong_master())
    return unwrap(derive(master, f"secret {purpose}"), sealed[FINGERPRINT_BYTES:], purpose.encode())


def keyed_digest(purpose: str, data: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA-256 of the data, under a key of the purpose's own. Raises KeyUnavailableError."""
    return hmac.digest(derive(load_master_key(), f"digest {purpose}"), data, sha256)


def forget_clinic_keys() -> None:
    """Drop the unwrapped keys that this process holds."""
    with _opened_lock:
        _opened.clear()


def _wrong_master() -> str:
    return _(
        "This is not the master key that the stored data was encrypted with: put the right one back "
        "(PORTAL_MASTER_KEY_FILE or PORTAL_MASTER_KEY). Nothing was changed."
    )


def _require_right_master(master: bytes) -> None:
    with every_clinic():
        others = ClinicKey.objects.filter(wrapped__isnull=False).exclude(master_fingerprint=fingerprint(master).hex())
        if others.exists():
            raise KeyUnavailableError(_wrong_master())


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
    row = ClinicKey(clinic_id=clinic_id, purpose=purpose, master_fingerprint=fingerprint(master).hex())
    row.wrapped = wrap(
        derive(master, "clinic key"), secrets.token_bytes(KEY_BYTES), _clinic_key_context(clinic_id, row.pk, purpose)
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        # Somebody else was faster.
        return wanted.get()
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
    master = load_master_key()
    if not hmac.compare_digest(row.master_fingerprint, fingerprint(master).hex()):
        raise KeyUnavailableError(_wrong_master())
    context = _clinic_key_context(clinic_id, clinic_key_id, row.purpose)
    key = unwrap(derive(master, "clinic key"), bytes(row.wrapped), context)
    with _opened_lock:
        for stale in [each for each, kept in _opened.items() if kept.expires_at <= now]:
            del _opened[stale]
        _opened[clinic_key_id] = _OpenedKey(clinic_id, key, now + CACHE_SECONDS)
    return key
