"""Sign for others to check: the installation's Ed25519 key (RFC 8032), whose private half is sealed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.db import IntegrityError, transaction

from apps.exports.models import SigningKey
from apps.keys.services import open_secret, seal_secret

_PURPOSE: Final = "exports.signing"


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures: 32 bytes, and since when it signs."""

    value: bytes
    since: datetime
    is_primary: bool


def sign(message: bytes) -> tuple[bytes, bytes]:
    """Return (public key, signature of 64 bytes); the key is made on first use.

    Raises KeyUnavailableError, also under another master key than the one the signing key was sealed with.
    """
    row = _primary()
    private = Ed25519PrivateKey.from_private_bytes(open_secret(_PURPOSE, bytes(row.sealed_private_key)))
    return bytes(row.public_key), private.sign(message)


def signed(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document, JSON values, with its signature over `message_of`; raises as `sign` does."""
    public_key, signature = sign(message_of(kind, document))
    return document | {
        "signature": {
            "algorithm": "Ed25519",
            "public_key": base64.b64encode(public_key).decode(),
            "value": base64.b64encode(signature).decode(),
        }
    }


def message_of(kind: str, document: dict[str, Any]) -> bytes:
    """Return what is signed: a line that says what it is, then the document without its signature as canonical JSON."""
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    body = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return f"viewbox {kind} 1\n{body}".encode("ascii")


def public_keys() -> list[PublicKey]:
    """Return the keys that sign or signed, the present one first; it is made when there is none yet.

    Raises KeyUnavailableError.
    """
    _primary()
    rows = SigningKey.objects.order_by("-is_primary", "-created_at")
    return [PublicKey(bytes(row.public_key), row.created_at, row.is_primary) for row in rows]


def is_signed(message: bytes, public_key: bytes, signature: bytes) -> bool:
    """Whether a key of this installation signed exactly this message."""
    if not SigningKey.objects.filter(public_key=public_key).exists():
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _primary() -> SigningKey:
    wanted = SigningKey.objects.filter(is_primary=True)
    if found := wanted.first():
        return found
    key = Ed25519PrivateKey.generate()
    row = SigningKey(
        public_key=key.public_key().public_bytes_raw(),
        sealed_private_key=seal_secret(_PURPOSE, key.private_bytes_raw()),
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        # Somebody else was faster.
        return wanted.get()
    return row
