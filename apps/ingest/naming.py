"""What a file is called on a page. Names are shown and never used to open anything (CONTROLS UPL-05)."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_NAME_LENGTH: Final = 255

_DRIVE = re.compile(r"^[A-Za-z]:")
# Nothing of these may reach a page, a CSV or a terminal: controls, format characters (bidi overrides), lone surrogates,
# line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def display_name(raw: str) -> str:
    """Return what the sender called a file, fit to be shown: its folders and name, at most 255 characters.

    Parts that walk ("..", "."), drive letters and unprintable characters are dropped; a name of nothing becomes "file".
    The end is kept when it is too long, since the end tells files of one folder apart.
    """
    text = unicodedata.normalize("NFC", raw.replace("\\", "/"))
    text = "".join(" " if unicodedata.category(character) in _UNSEEN else character for character in text)
    parts = (part.strip() for part in _DRIVE.sub("", text).split("/"))
    name = "/".join(part for part in parts if part.strip(". "))
    if len(name) > MAX_NAME_LENGTH:
        name = "…" + name[-(MAX_NAME_LENGTH - 1) :]
    return name or "file"
