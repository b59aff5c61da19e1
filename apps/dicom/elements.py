"""Read values from a data set without letting pydicom convert (and keep) every element.

pydicom keeps elements raw until asked for. Converting one costs 20 µs or more and changes the data set;
reading it here costs a fraction, which counts when a series has a thousand instances. Elements that were
set by program, or already converted, are read as well.
"""

import datetime
import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from . import charset

Element = DataElement | RawDataElement

TEXT_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"})
SINGLE_VALUE_TEXT_VRS: Final = frozenset({"LT", "ST", "UT", "UR"})
ASCII_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
BINARY_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
NUMBER_FORMATS: Final = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "SV": "q", "UL": "I", "US": "H", "UV": "Q"}

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_DATE = re.compile(r"([0-9]{4})[.\-]?([0-9]{2})[.\-]?([0-9]{2})", re.ASCII)
_TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?", re.ASCII)


@lru_cache(maxsize=8192)
def standard_vr(tag: int) -> str:
    """Return the value representation PS3.6 gives a tag; ``UN`` for private and unknown ones."""
    if tag & 0xFFFF == 0:
        return "UL"
    if tag >> 16 & 1:
        return "UN"
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def element_vr(dataset: Dataset, element: Element) -> str:
    """Return the value representation, looked up where the file does not state it; unknown is ``UN``.

    May be one of the ambiguous ones of PS3.6, such as ``US or SS``.
    """
    vr = element.VR
    if vr is not None and vr != "UN":
        return str(vr)
    tag = BaseTag(element.tag)
    if tag.is_private:
        return _private_vr(dataset, tag)
    return standard_vr(tag)


def _private_vr(dataset: Dataset, tag: BaseTag) -> str:
    if tag.is_private_creator:
        return "LO"
    creator_tag = (tag.group << 16) | (tag.element >> 8)
    creator = strings(dataset, creator_tag)
    if not creator:
        return "UN"
    return _private_standard_vr(tag, creator[0])


@lru_cache(maxsize=2048)
def _private_standard_vr(tag: int, creator: str) -> str:
    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


def encodings_of(dataset: Dataset, inherited: Sequence[str] = charset.DEFAULT_ENCODINGS) -> Sequence[str]:
    """Return the codecs of a data set or item; an item without its own inherits (PS3.5 7.5.3)."""
    if _SPECIFIC_CHARACTER_SET not in dataset:
        return inherited
    return charset.encodings_from(strings(dataset, _SPECIFIC_CHARACTER_SET))


def raw_strings(value: bytes, vr: str, encodings: Sequence[str]) -> list[str]:
    """Decode the bytes of a text element into its values."""
    text = charset.decode_text(value, encodings, is_person_name=vr == "PN")
    if vr in SINGLE_VALUE_TEXT_VRS:
        text = text.rstrip(" \0")
        return [text] if text else []
    return charset.split_values(text)


def strings(dataset: Dataset, tag: int, encodings: Sequence[str] = charset.DEFAULT_ENCODINGS) -> list[str]:
    """Return the values of an element as stripped texts; absent, empty and binary ones give none."""
    element = _element(dataset, tag)
    if element is None or element.value is None:
        return []
    if isinstance(element, RawDataElement):
        vr = "LO" if element.VR in (None, "UN") and BaseTag(tag).is_private_creator else element.VR
        if vr in (None, "UN"):
            vr = element_vr(dataset, element)
        if vr in NUMBER_FORMATS:
            return [str(number) for number in raw_numbers(element.value, str(vr), element.is_little_endian)]
        if vr in BINARY_VRS or vr in ("SQ", "AT") or " or " in str(vr):
            return []
        return raw_strings(element.value, str(vr), encodings)
    value = element.value
    if element.VR in BINARY_VRS or element.VR == "SQ":
        return []
    values = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    return [text for text in (str(part).strip(" \0") for part in values) if text or len(values) > 1]


def text(dataset: Dataset, tag: int, encodings: Sequence[str] = charset.DEFAULT_ENCODINGS) -> str:
    """Return the first value of an element as text, or ''."""
    values = strings(dataset, tag, encodings)
    return values[0] if values else ""


def identifier(dataset: Dataset, tag: int) -> str:
    """Return the value of a UID with everything that stands in it but padding, so that no lie is cut into a UID."""
    element = _element(dataset, tag)
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        return element.value.decode("latin-1").strip(" \0")
    return "\\".join(strings(dataset, tag))


def raw_numbers(value: bytes, vr: str, is_little_endian: bool) -> tuple[Any, ...]:
    """Unpack the values of a binary number element; a cut last value is dropped."""
    code = NUMBER_FORMATS[vr]
    count = len(value) // struct.calcsize(code)
    return struct.unpack_from(f"{'<' if is_little_endian else '>'}{count}{code}", value)


def integer(dataset: Dataset, tag: int) -> int | None:
    """Return the first value of a number element as an int, or None when it is absent or no number."""
    element = _element(dataset, tag)
    if element is None or element.value is None:
        return None
    try:
        if isinstance(element, RawDataElement):
            vr = element_vr(dataset, element)
            if " or " in vr:
                vr = "US"
            if vr in NUMBER_FORMATS:
                numbers = raw_numbers(element.value, vr, element.is_little_endian)
                return int(numbers[0]) if numbers else None
        first = text(dataset, tag)
        return int(float(first)) if first else None
    except (ValueError, OverflowError):
        return None


def numbers(dataset: Dataset, tag: int) -> tuple[float, ...]:
    """Return the values of a number element as floats; values that are no finite number end the list."""
    found: list[float] = []
    for part in strings(dataset, tag):
        try:
            number = float(part)
        except ValueError:
            break
        if not math.isfinite(number):
            break
        found.append(number)
    return tuple(found)


def date(dataset: Dataset, tag: int) -> datetime.date | None:
    """Return a DA value; the old form ``YYYY.MM.DD`` and the start of a DT are read too, nonsense is None."""
    match = _DATE.match(text(dataset, tag))
    if match is None:
        return None
    try:
        return datetime.date(*(int(part) for part in match.groups()))
    except ValueError:
        return None


def time(dataset: Dataset, tag: int) -> datetime.time | None:
    """Return a TM value; ``HH:MM:SS`` is read too, nonsense is None. A leap second becomes 59."""
    match = _TIME.match(text(dataset, tag))
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    try:
        return datetime.time(
            int(hour), int(minute or 0), min(int(second or 0), 59), int((fraction or "").ljust(6, "0") or 0)
        )
    except ValueError:
        return None


def _element(dataset: Dataset, tag: int) -> Element | None:
    if tag not in dataset:
        return None
    element = dataset.get_item(tag)
    return element if isinstance(element, (DataElement, RawDataElement)) else None
