"""Gather from a file who the patient and the staff are, before anything is changed."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from apps.dicom import charset

from .codec import Bytes, Fragments, Item, read_unknown_sequence
from .identity import MIN_PART, Identity
from .profile import TEXT_VRS, Action, Profile, Rules, rules_of, table, vr_of
from .words import vocabulary

_NUMBER_NAMES: Final = re.compile(r"\bIDs?\b|Number|Identif|Locator|Telephone|Telecom|Serial|Barcode", re.IGNORECASE)
_MAX_VALUE_BYTES: Final = 64 << 10
_STUDY_ID: Final = 0x00200010
_MAX_COUNTER: Final = 5
"""A shorter Study ID is a counter, and no number of anybody."""


class Found(NamedTuple):
    """What was found, as bytes; a key to remember the identity by."""

    names: frozenset[tuple[bytes, tuple[str, ...]]]
    numbers: frozenset[tuple[bytes, tuple[str, ...]]]
    words: frozenset[tuple[bytes, tuple[str, ...]]]
    dates: frozenset[bytes]


def collect(elements: Item, profile: Profile) -> Found:
    """Visit every element and gather the values that name somebody."""
    collector = _Collector(profile)
    collector.visit(elements, charset.DEFAULT_ENCODINGS)
    return Found(
        frozenset(collector.names), frozenset(collector.numbers), frozenset(collector.words), frozenset(collector.dates)
    )


class _Collector:
    def __init__(self, profile: Profile) -> None:
        self.kinds = _kinds_of(profile)
        self.names: set[tuple[bytes, tuple[str, ...]]] = set()
        self.numbers: set[tuple[bytes, tuple[str, ...]]] = set()
        self.words: set[tuple[bytes, tuple[str, ...]]] = set()
        self.dates: set[bytes] = set()

    def visit(self, item: Item, encodings: Sequence[str]) -> None:
        kinds = self.kinds
        for element in item:
            tag, value = element.tag, element.value
            if tag == 0x00080005 and isinstance(value, bytes):
                encodings = charset.encodings_from(value.decode("ascii", "replace").split("\\"))
                continue
            if type(value) is list:
                for child in value:
                    self.visit(child, encodings)
                continue
            if type(value) is not bytes or not value:
                continue
            kind = kinds.get(tag)
            if kind is None:
                kind = kinds[tag] = _kind_of(tag, rules_of(kinds.profile))
            if element.vr == "UN" and kind == "sequence":
                for child in read_unknown_sequence(value) or []:
                    self.visit(child, encodings)
            elif kind or element.vr in ("PN", "DA", "DT"):
                self._take(element.vr, kind, value, tuple(encodings))

    def _take(self, vr: str, kind: str, value: bytes, encodings: tuple[str, ...]) -> None:
        if vr == "PN" or kind == "name":
            self.names.add((value, encodings))
        elif kind == "number" or (kind == "study" and len(value.strip(b" \0")) > _MAX_COUNTER):
            self.numbers.add((value, encodings))
        elif kind == "words":
            self.words.add((value[:_MAX_VALUE_BYTES], encodings))
        elif vr in ("DA", "DT") or kind == "date":
            self.dates.add(value[:10])


class _Kinds(dict[int, str]):
    """What kind of identity an attribute holds, filled as tags are met."""

    profile: Profile


@lru_cache(maxsize=32)
def _kinds_of(profile: Profile) -> _Kinds:
    made = _Kinds()
    made.profile = profile
    return made


def _kind_of(tag: int, rules: Rules) -> str:
    vr = vr_of(tag)
    if tag >> 16 & 1:
        return ""
    if vr == "PN":
        return "name"
    if vr == "SQ":
        return "sequence"
    if vr in ("DA", "DT"):
        return "date"
    if tag == _STUDY_ID:
        return "study"
    row = table().attributes.get(tag)
    if row is None or not row.is_identity:
        return ""
    action = rules.action(tag)
    if action in (Action.KEEP, Action.CLEAN):
        return ""
    if vr in TEXT_VRS or vr == "AE":
        return "number" if _NUMBER_NAMES.search(row.name) else "words"
    return ""


def identity_of(found: Found) -> Identity:
    """Return the identity: everything decoded, split and folded."""
    identity = Identity()
    words, _ = vocabulary()
    for raw, encodings in found.names:
        for text in _decodings(raw, encodings, is_person_name=True):
            identity.add_name(text.replace("\\", " "))
    for raw, encodings in found.numbers:
        for text in _decodings(raw, encodings):
            for part in text.split("\\"):
                identity.add_number(part)
                identity.add_words(part, words)
    for raw, encodings in found.words:
        for text in _decodings(raw, encodings):
            identity.add_words(text, words)
    for raw in found.dates:
        identity.add_date(raw.decode("ascii", "replace"))
    identity.spoken.update(identity.dates)
    return identity


def _decodings(raw: bytes, encodings: tuple[str, ...], *, is_person_name: bool = False) -> list[str]:
    """Return what a value says in its declared character set and, beyond ASCII, in the likeliest others."""
    found = [charset.decode_text(raw, encodings, is_person_name=is_person_name)]
    if not raw.isascii():
        for codec in ("utf-8", "iso8859", "gb18030"):
            try:
                text = raw.decode(codec)
            except UnicodeDecodeError:
                continue
            if text not in found:
                found.append(text)
    return found


def holds(elements: Item, tag: int) -> bool:
    """Say whether an element with a value occurs at any depth."""
    for element in elements:
        if element.tag == tag and not isinstance(element.value, Fragments) and len(element.value):
            return True
        if type(element.value) is list and any(holds(child, tag) for child in element.value):
            return True
    return False


def blank_names(value: Bytes, identity: Identity) -> bytes | None:
    """Return bytes with names and numbers written in them as text emptied; None when there are none."""
    pattern = _byte_pattern(
        frozenset(name for name in identity.names if len(name) > MIN_PART and name.isascii()),
        frozenset(number for number in identity.numbers if len(number) > 5 and number.isascii())
        | frozenset(identity.dates),
    )
    if pattern is None or pattern.search(value) is None:
        return None
    return pattern.sub(lambda match: bytes(len(match.group())), bytes(value))


@lru_cache(maxsize=256)
def _byte_pattern(names: frozenset[str], numbers: frozenset[str]) -> "re.Pattern[bytes] | None":
    forms = []
    for word in sorted(names | numbers):
        letters = [re.escape(letter.encode()) for letter in word]
        forms.append(b"".join(letters))
        forms.append(b"\\x00".join(letters))
    return re.compile(b"|".join(forms), re.IGNORECASE) if forms else None
