"""The master key: 32 bytes from the environment, from a file that only its owner can read, or from AWS KMS.

It encrypts nothing itself: every use has a key of its own, derived from it by HKDF-SHA-256 (RFC 5869).
"""

import base64
import binascii
import os
import secrets
import stat
from importlib import import_module
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.translation import gettext as _

from apps.keys.errors import KeyUnavailableError

KEY_BYTES = 32
ENCODED_LENGTH = 44
FINGERPRINT_BYTES = 8
FILE_MODES = (0o400, 0o600)


def _kms() -> Any:
    # Imported by name: boto3 is loaded only where something is at AWS.
    return import_module("apps.keys.kms")


def _opened(wrapped: str) -> bytes:
    key: bytes = _kms().open_with_kms(settings.MASTER_KEY_KMS, wrapped)
    return key


def load_master_key() -> bytes:
    """Return the 32 bytes; raises KeyUnavailableError with the fix when there is no usable key.

    Read anew each time (but for KMS, which is asked again after minutes): it is needed rarely, and a key that was
    taken away is not kept in memory.
    """
    if settings.MASTER_KEY and settings.MASTER_KEY_FILE:
        raise KeyUnavailableError(
            _("Two master keys are set: keep one of PORTAL_MASTER_KEY and PORTAL_MASTER_KEY_FILE.")
        )
    if settings.MASTER_KEY:
        return _decode(settings.MASTER_KEY, "PORTAL_MASTER_KEY")
    if settings.MASTER_KEY_FILE and settings.MASTER_KEY_KMS:
        return _opened(_read(Path(settings.MASTER_KEY_FILE)))
    if settings.MASTER_KEY_FILE:
        return _decode(_read(Path(settings.MASTER_KEY_FILE)), "PORTAL_MASTER_KEY_FILE")
    raise KeyUnavailableError(
        _(
            "There is no master key: set PORTAL_MASTER_KEY_FILE to the file that holds it. "
            "For a new installation make one with “manage.py create_master_key PATH”."
        )
    )


def load_previous_master_key() -> bytes | None:
    """Return the master key that is being replaced, None outside a rotation; raises KeyUnavailableError."""
    if not settings.MASTER_KEY_PREVIOUS_FILE:
        return None
    text = _read(Path(settings.MASTER_KEY_PREVIOUS_FILE))
    # One that KMS wraps is longer than a key in the clear.
    if settings.MASTER_KEY_KMS and len(text.strip()) > ENCODED_LENGTH:
        return _opened(text)
    return _decode(text, "PORTAL_MASTER_KEY_PREVIOUS_FILE")


def create_master_key_file(path: Path, key: bytes | None = None) -> None:
    """Write a new random key (or this one) to a file of mode 0400, durably; with KMS, as KMS wraps it.

    Raises FileExistsError rather than replace anything, KeyUnavailableError if KMS does not answer.
    """
    key = key or secrets.token_bytes(KEY_BYTES)
    plain = base64.b64encode(key).decode()
    content: str = _kms().wrap_with_kms(settings.MASTER_KEY_KMS, key) if settings.MASTER_KEY_KMS else plain
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_once(path, content.encode() + b"\n")


def write_once(path: Path, content: bytes) -> None:
    """Write a new file of mode 0400, durably; raises FileExistsError rather than replace anything.

    The file has its name only when it is whole: a start that is cut off leaves no key, not half of one.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o400)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    finally:
        aside.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def derive(master_key: bytes, use: str) -> bytes:
    """Return the 32-byte key of one use; uses are told apart by name."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=b"viewbox " + use.encode()).derive(master_key)


def fingerprint(master_key: bytes) -> bytes:
    """Return 8 bytes that tell one master key from another and say nothing about either."""
    return derive(master_key, "master key fingerprint")[:FINGERPRINT_BYTES]


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeyUnavailableError(
            _(
                "The master key file cannot be read (%(reason)s): mount or restore it, and let PORTAL_MASTER_KEY_FILE "
                "name it. Never make a new key for stored images: they open with theirs only."
            )
            % {"reason": error.strerror}
        ) from error
    with os.fdopen(descriptor) as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode not in FILE_MODES:
            raise KeyUnavailableError(
                _("The master key file has mode %(mode)s, so that others may read it: run “chmod 0400” on it.")
                % {"mode": f"{mode:04o}"}
            )
        # A key is 44 characters, one that KMS wraps some 250; anything longer is another file.
        return file.read(1000)


def _decode(text: str, origin: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailableError(
            _("%(origin)s does not hold a master key: it must be 32 bytes in base64, as create_master_key makes them.")
            % {"origin": origin}
        )
    return key
