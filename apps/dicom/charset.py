"""Text of data elements: character sets, padding and delimiters (PS3.5 sections 6.1 and 6.2).

Real files lie about their character set, mix them, cut characters in half and pad with NUL. Decoding here
never fails: what cannot be decoded becomes U+FFFD, and the rest stays readable.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from pydicom import charset as pydicom_charset

DEFAULT_ENCODINGS: Final[tuple[str, ...]] = ("iso8859",)

_ESCAPE: Final = b"\x1b"
_PN_DELIMITERS: Final = {0x5C, 0x5E, 0x3D, 0x0A, 0x0C, 0x0D, 0x09}
_TEXT_DELIMITERS: Final = {0x5C, 0x0A, 0x0C, 0x0D, 0x09}
_GB2312_TO_G1: Final = b"\x1b$)A"
# What is left of an escape sequence after a decoder gave up on it, and control characters no text may hold
# (PS3.5 6.1.3 allows TAB, LF, FF and CR).
_LEFTOVERS = re.compile(r"\x1b(?:\$?[()\-.][0-9A-Z@]|\$[AB@])?|[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def encodings_from(specific_character_set: Sequence[str]) -> tuple[str, ...]:
    """Return Python codec names for the values of (0008,0005), usual misspellings included."""
    return _encodings_from(tuple(specific_character_set))


@lru_cache(maxsize=256)
def _encodings_from(specific_character_set: tuple[str, ...]) -> tuple[str, ...]:
    values = [value.strip(" \0") for value in specific_character_set]
    if not any(values):
        return DEFAULT_ENCODINGS
    try:
        names = pydicom_charset.convert_encodings(values)
    except (LookupError, ValueError):
        return DEFAULT_ENCODINGS
    return tuple(_decoder_for(name) for name in names) or DEFAULT_ENCODINGS


def _decoder_for(name: str) -> str:
    # Files that say GB2312 or GBK hold characters of its superset; decoding with the superset loses nothing.
    return "gb18030" if name.lower() in {"gb2312", "gbk"} else name


def decode_text(value: bytes, encodings: Sequence[str], *, is_person_name: bool = False) -> str:
    """Decode a whole value, all of its backslash-separated parts at once.

    Decoding comes before splitting, since 5CH may be the second byte of a character (GB18030, ISO 2022).
    """
    if value.isascii() and _ESCAPE not in value:
        text = value.decode("ascii")
    else:
        text = _decode(value, encodings, _PN_DELIMITERS if is_person_name else _TEXT_DELIMITERS)
    return _LEFTOVERS.sub("", text) if _has_controls(text) else text


def _decode(value: bytes, encodings: Sequence[str], delimiters: set[int]) -> str:
    if _GB2312_TO_G1 in value:
        # The escape only puts GB2312 into G1 (PS3.5 K.3): ASCII stays in G0, so the mix is plain GB18030.
        value = value.replace(_GB2312_TO_G1, b"")
        if _ESCAPE not in value:
            return value.decode("gb18030", errors="replace")
    try:
        return pydicom_charset.decode_bytes(value, list(encodings), delimiters)
    except (LookupError, ValueError, AssertionError):
        return value.decode("iso8859", errors="replace")


def _has_controls(text: str) -> bool:
    return not text.isprintable()


def split_values(text: str) -> list[str]:
    """Split a decoded multi-valued text into stripped values; an empty text has no values."""
    stripped = text.strip(" \0")
    if not stripped:
        return []
    return [part.strip(" \0") for part in stripped.split("\\")]
