"""Unique identifiers: PS3.5 section 9 and annex B."""

import re
import uuid
from typing import Final

UUID_ROOT: Final = "2.25"
"""The arc for UIDs derived from a UUID (PS3.5 B.2), open to everyone without registration."""

IMPLEMENTATION_CLASS_UID: Final = "2.25.173463283617318474218036146418903275093"
"""Names this program in the files it writes (PS3.7 D.3.3.2)."""

MAX_LENGTH: Final = 64

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*", re.ASCII)


def make_uid(seed: str | None = None) -> str:
    """Return a new UID under 2.25, at most 44 characters.

    With a ``seed`` the same UID comes out each time (RFC 9562 version 5); without
    one it is random.
    """
    if seed is None:
        return f"{UUID_ROOT}.{uuid.uuid4().int}"
    return f"{UUID_ROOT}.{uuid.uuid5(uuid.NAMESPACE_OID, seed).int}"


def is_valid_uid(text: str) -> bool:
    """Say whether ``text`` can serve as a UID: digits in dotted components, 64 characters at most.

    Components with a leading zero break PS3.5 9.1 but are common in the field, harmless, and accepted.
    """
    return len(text) <= MAX_LENGTH and _UID.fullmatch(text) is not None
