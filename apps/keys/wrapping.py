"""AES-256-GCM around something small (NIST SP 800-38D): format byte, random 96-bit nonce, ciphertext with its tag."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apps.keys.errors import SealBrokenError

FORMAT = b"\x01"
NONCE_BYTES = 12


def wrap(key: bytes, plaintext: bytes, associated_data: bytes) -> bytes:
    """Return the wrapped bytes. Random nonces are good for 2^32 wraps under one key."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return FORMAT + nonce + AESGCM(key).encrypt(nonce, plaintext, FORMAT + associated_data)


def unwrap(key: bytes, wrapped: bytes, associated_data: bytes) -> bytes:
    """Return the plaintext; raises SealBrokenError for anything but what `wrap` made with the same arguments."""
    if wrapped[:1] != FORMAT:
        raise SealBrokenError
    nonce, ciphertext = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, FORMAT + associated_data)
    except (InvalidTag, ValueError):
        raise SealBrokenError from None
