"""Where two versions of one instance differ, attribute by attribute, as a person compares them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pydicom.datadict import dictionary_description, dictionary_has_tag

MAX_TEXT: Final = 200
MAX_DIFFERENCES: Final = 300
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute: its tag as (gggg,eeee), what it is called, and what each version says ("" for nothing)."""

    tag: str
    name: str
    first: str
    second: str


def differences(first: bytes, second: bytes) -> list[Difference]:
    """Compare two instances in the DICOM JSON Model (PS3.18 F); at most MAX_DIFFERENCES, in the order of tags.

    Binary values are compared where they stand in the model; those behind a URI are somebody else's to compare.
    """
    ours, theirs = json.loads(first), json.loads(second)
    found = []
    for tag in sorted({*ours, *theirs}):
        one, other = ours.get(tag), theirs.get(tag)
        if _comparable(one) != _comparable(other):
            found.append(Difference(f"({tag[:4]},{tag[4:]})", _name(tag), _text(one), _text(other)))
    return found[:MAX_DIFFERENCES]


def _comparable(element: dict[str, Any] | None) -> Any:
    if element is None:
        return None
    return {key: value for key, value in element.items() if key != "BulkDataURI"}


def _name(tag: str) -> str:
    number = int(tag, 16)
    return dictionary_description(number) if dictionary_has_tag(number) else "Private" if number >> 16 & 1 else tag


def _text(element: dict[str, Any] | None) -> str:
    if element is None:
        return ""
    if element.get("vr") in _BINARY or "InlineBinary" in element or "BulkDataURI" in element:
        return "…"
    values = element.get("Value", [])
    text = "\\".join(_value(value) for value in values)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        groups = [value[name] for name in ("Alphabetic", "Ideographic", "Phonetic") if name in value]
        return "=".join(str(group) for group in groups) if groups else "{…}"
    return str(value)
