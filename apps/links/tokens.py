"""Secrets that are handed out once and kept as hashes: the token in a link, the secret in a cookie, the PIN."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from django.contrib.auth.hashers import check_password, make_password

TOKEN_BYTES: Final = 32
PIN_DIGITS: Final = 6


def make_token() -> str:
    """Return 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """Return the SHA-256 by which a token is looked up; a token has so many bits that no slow hash is needed."""
    return hashlib.sha256(token.encode()).digest()


def make_pin() -> str:
    """Return six random digits; guesses are counted, so that six are enough."""
    return f"{secrets.randbelow(10**PIN_DIGITS):0{PIN_DIGITS}d}"


def hash_pin(pin: str) -> str:
    """Return the slow hash of a PIN or a date (Argon2id as for passwords)."""
    return make_password(_plain(pin))


def is_pin(pin: str, pin_hash: str) -> bool:
    """Whether the PIN is the one that was hashed; spaces and hyphens that people type between digits do not count."""
    return check_password(_plain(pin), pin_hash)


def _plain(answer: str) -> str:
    return "".join(answer.split()).replace("-", "")
