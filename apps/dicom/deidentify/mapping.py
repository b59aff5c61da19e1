"""New identifiers from old ones under a key: the same each time, and never back without it.

Everything is HMAC-SHA-256 (FIPS 198-1) of the old value under sub-keys, one for each purpose, derived from the key
(NIST SP 800-108 in its simplest form). The same key gives the same values on every machine and in every year.

What was made here carries a check under the same key and is recognised: mapping it again gives it back. So a second
run over the output changes nothing, and a mix of originals and outputs still fits together.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from pydicom._uid_dict import UID_dictionary

from apps.dicom.uid import MAX_LENGTH, UUID_ROOT

MIN_KEY_BYTES: Final = 16
_MIN_SHIFT_DAYS: Final = 30
_SPAN_DAYS: Final = 3650
_MIN_SHIFT_SECONDS: Final = 61
_SPAN_SECONDS: Final = 7000
_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_CHECK_BITS: Final = 32
_WELL_KNOWN: Final = frozenset(str(uid) for uid in UID_dictionary)


class KeyTooShortError(ValueError):
    """The key has fewer than 16 bytes and could be guessed."""

    code = "key-too-short"


@dataclass(frozen=True, slots=True)
class Shift:
    """How far a patient's time line is moved back."""

    days: int
    seconds: int


NO_SHIFT: Final = Shift(0, 0)


@dataclass(slots=True)
class Mapper:
    """The keyed functions. ``uid_root`` may be an own root instead of 2.25 (PS3.5 B.2)."""

    key: bytes = field(repr=False)
    uid_root: str = UUID_ROOT
    _uids: dict[str, str] = field(default_factory=dict, repr=False)
    _labels: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)
    _keys: dict[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse a key that could be guessed, and a root that leaves no room."""
        if len(self.key) < MIN_KEY_BYTES:
            raise KeyTooShortError(f"The key must have at least {MIN_KEY_BYTES} bytes.")
        if len(self.uid_root) + 40 > MAX_LENGTH:
            raise ValueError("The UID root is too long.")

    def digest(self, purpose: str, value: str) -> bytes:
        """Return 32 bytes that depend on the key, the purpose and the value."""
        key = self._keys.get(purpose)
        if key is None:
            key = self._keys[purpose] = hmac.digest(
                self.key, b"viewbox de-identification 1 " + purpose.encode(), "sha256"
            )
        return hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256")

    def uid(self, old: str) -> str:
        """Map a UID; those of the standard itself and those made here stay. Empty stays empty."""
        new = self._uids.get(old)
        if new is None:
            if len(self._uids) > 200_000:
                self._uids.clear()
            new = self._uids[old] = self._map_uid(old)
        return new

    def _map_uid(self, old: str) -> str:
        if not old or old in _WELL_KNOWN or self.is_own_uid(old):
            return old
        # RFC 9562 version 8: 122 free bits, of which the last 32 are the check.
        value = int.from_bytes(self.digest("uid", old)[:12], "big") >> 6
        return f"{self.uid_root}.{self._seal(value)}"

    def _seal(self, value: int) -> int:
        check = int.from_bytes(self.digest("uid check", str(value))[:4], "big")
        bits = value << _CHECK_BITS | check
        low = bits & (1 << 62) - 1
        middle = bits >> 62 & 0xFFF
        high = bits >> 74
        return high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low

    def is_own_uid(self, uid: str) -> bool:
        """Say whether ``uid`` was made here, with this key and root."""
        root, _, last = uid.rpartition(".")
        if root != self.uid_root or not last.isascii() or not last.isdigit() or len(last) > 39:
            return False
        number = int(last)
        bits = (number >> 80) << 74 | (number >> 64 & 0xFFF) << 62 | number & (1 << 62) - 1
        return self._seal(bits >> _CHECK_BITS) == number

    def label(self, purpose: str, old: str) -> str:
        """Map an identifier to 14 letters and digits, of which the last four are the check; own ones stay."""
        new = self._labels.get((purpose, old))
        if new is None:
            if len(self._labels) > 100_000:
                self._labels.clear()
            new = self._labels[purpose, old] = self._map_label(purpose, old)
        return new

    def _map_label(self, purpose: str, old: str) -> str:
        if self.is_own_label(purpose, old):
            return old
        stem = _letters(self.digest(purpose, normalised(old)), 10)
        return stem + self._label_check(purpose, stem)

    def is_own_label(self, purpose: str, text: str) -> bool:
        """Say whether ``text`` was made here, with this key and for this purpose."""
        return (
            len(text) == 14 and text.isascii() and hmac.compare_digest(self._label_check(purpose, text[:10]), text[10:])
        )

    def _label_check(self, purpose: str, stem: str) -> str:
        return _letters(self.digest(purpose + " check", stem), 4)

    def shift(self, patient: str) -> Shift:
        """Return how far the time line of a patient moves; not at all for one that was moved already."""
        if self.is_own_label("patient", patient) or patient in _WELL_KNOWN or self.is_own_uid(patient):
            return NO_SHIFT
        number = int.from_bytes(self.digest("shift", normalised(patient))[:12], "big")
        days = _MIN_SHIFT_DAYS + number % _SPAN_DAYS
        return Shift(days, _MIN_SHIFT_SECONDS + number // _SPAN_DAYS % _SPAN_SECONDS)


def normalised(identifier: str) -> str:
    """Return an identifier without case and separators: 'MRN 12-34' and 'mrn1234' are one."""
    kept = "".join(part for part in identifier.casefold() if part.isalnum())
    return kept or identifier


def key_from_file(content: bytes) -> bytes:
    """Return the key a file holds: its bytes, without the line end an editor leaves."""
    stripped = content.rstrip(b"\r\n")
    return stripped if stripped.isascii() else content


def fingerprint(key: bytes) -> str:
    """Return what names a key in reports without giving it away."""
    return hashlib.sha256(hmac.digest(key, b"viewbox de-identification fingerprint", "sha256")).hexdigest()[:12]


def _letters(digest: bytes, count: int) -> str:
    number = int.from_bytes(digest, "big")
    letters = []
    for _ in range(count):
        number, rest = divmod(number, 32)
        letters.append(_ALPHABET[rest])
    return "".join(letters)
