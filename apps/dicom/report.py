"""What a structured report says, as lines that people can read (PS3.3 C.17.3, SR Document Content Module)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence

from apps.dicom import elements

# More lines than this are no report that a person reads: they are a measurement log of a machine.
MAX_ITEMS: Final = 2000

_VALUE_TYPE: Final = 0x0040A040
_CONCEPT_NAME: Final = 0x0040A043
_CONCEPT_CODE: Final = 0x0040A168
_CONTENT: Final = 0x0040A730
_MEASURED_VALUE: Final = 0x0040A300
_NUMERIC_VALUE: Final = 0x0040A30A
_UNITS: Final = 0x004008EA
_REFERENCED_SOP: Final = 0x00081199
_REFERENCED_INSTANCE: Final = 0x00081155
_CODE_VALUE: Final = 0x00080100
_CODE_MEANING: Final = 0x00080104
_GRAPHIC_TYPE: Final = 0x00700023
_NO_UNIT: Final = "1"

# The value types whose value is one element of the item.
_PLAIN_VALUES: Final = {
    "TEXT": 0x0040A160,
    "DATETIME": 0x0040A120,
    "DATE": 0x0040A121,
    "TIME": 0x0040A122,
    "PNAME": 0x0040A123,
    "UIDREF": 0x0040A124,
    "SCOORD": _GRAPHIC_TYPE,
    "SCOORD3D": _GRAPHIC_TYPE,
    "TCOORD": 0x0040A130,
}


@dataclass(frozen=True, slots=True)
class ReportItem:
    """One line: how deep it stands, what it is called, what it says ("" for a heading), and its value type."""

    depth: int
    name: str
    value: str
    value_type: str


def report_items(dataset: Dataset) -> list[ReportItem]:
    """Return the lines of a report, the title first; at most MAX_ITEMS. Nothing raises for a malformed item."""
    return list(islice(_walk(dataset, 0, elements.encodings_of(dataset)), MAX_ITEMS))


def _walk(item: Dataset, depth: int, inherited: Sequence[str]) -> Iterator[ReportItem]:
    encodings = elements.encodings_of(item, inherited)
    value_type = elements.text(item, _VALUE_TYPE, encodings)
    name = _meaning(item, _CONCEPT_NAME, encodings)
    value = _value(item, value_type, encodings)
    if name or value:
        yield ReportItem(depth, name, value, value_type)
    for child in _items(item, _CONTENT):
        yield from _walk(child, depth + 1, encodings)


def _value(item: Dataset, value_type: str, encodings: Sequence[str]) -> str:
    special: dict[str, Callable[[Dataset, Sequence[str]], str]] = {
        "CODE": lambda found, codecs: _meaning(found, _CONCEPT_CODE, codecs),
        "NUM": _number,
        "IMAGE": _reference,
        "COMPOSITE": _reference,
        "WAVEFORM": _reference,
    }
    if value_type in special:
        return special[value_type](item, encodings)
    tag = _PLAIN_VALUES.get(value_type)
    return elements.text(item, tag, encodings) if tag is not None else ""


def _number(item: Dataset, encodings: Sequence[str]) -> str:
    for measured in _items(item, _MEASURED_VALUE):
        number = elements.text(measured, _NUMERIC_VALUE, encodings)
        units = _items(measured, _UNITS)
        symbol = elements.text(units[0], _CODE_VALUE, encodings) if units else ""
        return f"{number} {symbol}".strip() if symbol != _NO_UNIT else number
    return ""


def _reference(item: Dataset, encodings: Sequence[str]) -> str:
    return ", ".join(elements.text(found, _REFERENCED_INSTANCE, encodings) for found in _items(item, _REFERENCED_SOP))


def _meaning(item: Dataset, tag: int, encodings: Sequence[str]) -> str:
    for code in _items(item, tag):
        own = elements.encodings_of(code, encodings)
        return elements.text(code, _CODE_MEANING, own) or elements.text(code, _CODE_VALUE, own)
    return ""


def _items(dataset: Dataset, tag: int) -> list[Dataset]:
    value = dataset[tag].value if tag in dataset else None
    return list(value) if isinstance(value, DicomSequence) else []
