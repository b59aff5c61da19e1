"""Password hashing that cannot eat the machine."""

from __future__ import annotations

import threading
from typing import Final

from django.contrib.auth.hashers import Argon2PasswordHasher

# Each Argon2id hash takes 100 MiB: two at once per process, the others queue.
_AT_ONCE: Final = threading.BoundedSemaphore(2)


class BoundedArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2id with Django's parameters, at most two hashes at once per process (AUTH-12)."""

    def encode(self, password: str, salt: str) -> str:
        """Return the encoded hash; waits for its turn."""
        with _AT_ONCE:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the password matches; waits for its turn."""
        with _AT_ONCE:
            return super().verify(password, encoded)
