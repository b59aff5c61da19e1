"""The DICOM JSON Model: PS3.18 Annex F.

Elements are turned into JSON straight from their raw bytes where possible, since the metadata of a series
has to be made from each of its instances, a thousand and more.
"""

import base64
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as DicomSequence

from . import charset, elements, parse
from .elements import Element
from .errors import BulkDataError, Code, RejectedError
from .parse import ElementPlace, Header

INLINE_BYTES: Final = 4096
"""Binary values up to this length are given inline; longer ones by reference."""
MAX_BULK_BYTES: Final = 2 << 30

Json = dict[str, Any]
BulkDataURI = Callable[[str], str]
"""Makes the URI of a bulk data element from its tag path, such as ``7FE00010`` or ``00540016/1/00181071``:
tags in eight upper-case hexadecimal digits, items of a sequence counted from 1."""

_PERSON_NAME_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_AMBIGUOUS: Final = {"US or SS": "US", "OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}
_SWAP_BYTES: Final = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}
_MAX_SAFE_INTEGER: Final = (1 << 53) - 1


def to_json(dataset: Dataset, bulk_data_uri: BulkDataURI) -> Json:
    """Return the data set in the DICOM JSON Model, ready for ``json.dumps(..., allow_nan=False)``.

    Elements are in the order of their tags. Values that were left in the file (pixel data above all) are
    given by reference, if ``dataset`` is the one of a ``Header``. Group lengths and file meta information are
    left out, and (0008,0005) becomes ISO_IR 192, as Annex F.2 wants. Never raises for what a parsed file holds.
    """
    return _dataset_json(dataset, bulk_data_uri, charset.DEFAULT_ENCODINGS, "")


def _dataset_json(dataset: Dataset, bulk_data_uri: BulkDataURI, inherited: Sequence[str], path: str) -> Json:
    encodings = elements.encodings_of(dataset, inherited)
    places: Mapping[int, ElementPlace] = getattr(dataset, "places", {})
    result: Json = {}
    entries: list[tuple[int, Element | ElementPlace]] = [(int(tag), element) for tag, element in dataset.items()]
    entries.extend(places.items())
    entries.sort(key=_by_tag)
    for tag, element in entries:
        if tag & 0xFFFF == 0 or tag < 0x00080000:
            continue
        key = f"{tag:08X}"
        if isinstance(element, ElementPlace):
            result[key] = {"vr": element.vr, "BulkDataURI": bulk_data_uri(path + key)}
        elif tag == _SPECIFIC_CHARACTER_SET:
            result[key] = {"vr": "CS", "Value": ["ISO_IR 192"]}
        else:
            result[key] = _element_json(dataset, element, encodings, bulk_data_uri, path + key)
    return result


def _by_tag(entry: tuple[int, Element | ElementPlace]) -> int:
    return entry[0]


def _element_json(
    dataset: Dataset, element: Element, encodings: Sequence[str], bulk_data_uri: BulkDataURI, path: str
) -> Json:
    tag = int(element.tag)
    vr = elements.element_vr(dataset, element)
    if vr == "SQ" or isinstance(element.value, DicomSequence):
        return _sequence_json(dataset, tag, bulk_data_uri, encodings, path)
    if vr in _AMBIGUOUS:
        vr = _settled_vr(dataset, tag, vr)
    if isinstance(element, RawDataElement):
        value = element.value or b""
        if not isinstance(value, bytes):
            return {"vr": vr}
        return _raw_json(vr, value, element.is_little_endian, encodings, lambda: bulk_data_uri(path))
    return _converted_json(vr, element.value, lambda: bulk_data_uri(path))


def _settled_vr(dataset: Dataset, tag: int, vr: str) -> str:
    # LUT data and pixel values whose kind depends on Pixel Representation (PS3.5 Annex A.1).
    if vr == "US or SS" and elements.integer(dataset, 0x00280103) == 1:
        return "SS"
    return _AMBIGUOUS[vr]


def _sequence_json(dataset: Dataset, tag: int, bulk_data_uri: BulkDataURI, encodings: Sequence[str], path: str) -> Json:
    try:
        items = dataset[tag].value
    except Exception:  # pydicom raises almost anything on damaged items; the element stays, without them
        return {"vr": "SQ"}
    if not isinstance(items, DicomSequence) or not items:
        return {"vr": "SQ"}
    return {
        "vr": "SQ",
        "Value": [
            _dataset_json(item, bulk_data_uri, encodings, f"{path}/{number}/") for number, item in enumerate(items, 1)
        ],
    }


def _raw_json(
    vr: str, value: bytes, is_little_endian: bool, encodings: Sequence[str], bulk_data_uri: Callable[[], str]
) -> Json:
    if not value:
        return {"vr": vr}
    if vr in elements.BINARY_VRS:
        return _binary_json(vr, value, is_little_endian, bulk_data_uri)
    if vr in elements.NUMBER_FORMATS:
        return _with_values(vr, [_number(part) for part in elements.raw_numbers(value, vr, is_little_endian)])
    if vr == "AT":
        words = elements.raw_numbers(value, "US", is_little_endian)
        tags = zip(words[::2], words[1::2], strict=False)
        return _with_values(vr, [f"{group:04X}{part:04X}" for group, part in tags])
    parts = elements.raw_strings(value, vr, encodings)
    if vr == "PN":
        return _with_values(vr, [_person_name(part) for part in parts])
    if vr in ("DS", "IS"):
        return _with_values(vr, [_number_from_text(part, vr) for part in parts])
    return _with_values(vr, [part or None for part in parts])


def _converted_json(vr: str, value: Any, bulk_data_uri: Callable[[], str]) -> Json:
    """Do the same for an element that pydicom has converted, or a program has set."""
    if value is None:
        return {"vr": vr}
    if isinstance(value, (bytes, bytearray)):
        if vr in elements.BINARY_VRS:
            # pydicom swaps no bytes of binary values; those set by program are little endian.
            return _binary_json(vr, bytes(value), True, bulk_data_uri)
        value = bytes(value).decode("ascii", errors="replace")
    parts: Iterable[Any] = value if isinstance(value, (MultiValue, list, tuple)) else [value]
    if vr == "PN":
        return _with_values(vr, [_person_name(part) for part in parts])
    if vr == "AT":
        return _with_values(vr, [f"{int(part):08X}" for part in parts])
    if vr in ("DS", "IS"):
        return _with_values(vr, [_number_from_text(str(part), vr) for part in parts])
    if vr in elements.NUMBER_FORMATS:
        return _with_values(vr, [_number(part) for part in parts])
    return _with_values(vr, [str(part).strip(" \0") or None for part in parts])


def _with_values(vr: str, values: list[Any]) -> Json:
    # An empty element has no Value (F.2.5); an empty one among several is null.
    return {"vr": vr, "Value": values} if any(value is not None for value in values) else {"vr": vr}


def _binary_json(vr: str, value: bytes, is_little_endian: bool, bulk_data_uri: Callable[[], str]) -> Json:
    if not value:
        return {"vr": vr}
    if len(value) > INLINE_BYTES:
        return {"vr": vr, "BulkDataURI": bulk_data_uri()}
    return {"vr": vr, "InlineBinary": base64.b64encode(little_endian(value, vr, is_little_endian)).decode("ascii")}


def little_endian(value: bytes, vr: str, is_little_endian: bool) -> bytes:
    """Put the words of a binary value into little endian order; bytes and odd lengths stay as they are."""
    width = 1 if is_little_endian else _SWAP_BYTES.get(vr, 1)
    if width == 1 or len(value) % width:
        return value
    swapped = bytearray(len(value))
    for byte in range(width):
        swapped[byte::width] = value[width - 1 - byte :: width]
    return bytes(swapped)


def _number(value: Any) -> int | float | str | None:
    if isinstance(value, int):
        return value if -_MAX_SAFE_INTEGER <= value <= _MAX_SAFE_INTEGER else str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    # JSON knows no NaN and no infinity (RFC 8259 section 6).
    return number if math.isfinite(number) else None


def _number_from_text(text: str, vr: str) -> int | float | str | None:
    """Return IS and DS as a number; what is none stays the text it is (F.2.2 allows either)."""
    text = text.strip(" \0")
    if not text or len(text) > 32 or not text.isascii() or "_" in text:
        return text or None
    try:
        if vr == "IS":
            return int(text)
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() and abs(number) <= _MAX_SAFE_INTEGER and "." not in text else number


def _person_name(value: Any) -> Json | None:
    groups = [group.strip(" \0") for group in str(value).split("=")[:3]]
    named = {name: group for name, group in zip(_PERSON_NAME_GROUPS, groups, strict=False) if group}
    return named or None


def bulk_data(file: BinaryIO, header: Header, path: str) -> tuple[str, bytes]:
    """Return ``(vr, bytes)`` of the element at a tag path, as little endian as its transfer syntax is.

    ``file`` is the one ``header`` was parsed from. Encapsulated pixel data comes as its whole value, items
    included; single frames are the business of ``frames``. Raises ``BulkDataError`` (``no-such-element``,
    ``bad-argument``), or ``RejectedError`` (``truncated``) when the file got shorter.
    """
    keys = _parse_path(path)
    dataset: Dataset = header.dataset
    while len(keys) > 1:
        tag, item, *keys = keys
        element = dataset.get(tag)
        if element is None or not isinstance(element.value, DicomSequence) or not 1 <= item <= len(element.value):
            raise BulkDataError(Code.NO_SUCH_ELEMENT)
        dataset = element.value[item - 1]
    return _value_bytes(file, header, dataset, keys[0])


def _parse_path(path: str) -> list[int]:
    parts = path.strip("/").split("/")
    if len(parts) % 2 == 0 or len(parts) > 2 * parse.MAX_DEPTH + 1:
        raise BulkDataError(Code.BAD_ARGUMENT)
    keys: list[int] = []
    for number, part in enumerate(parts):
        if not part.isascii() or not part.isalnum() or len(part) > 8 or (number % 2 == 0 and len(part) != 8):
            raise BulkDataError(Code.BAD_ARGUMENT)
        try:
            keys.append(int(part, 10 if number % 2 else 16))
        except ValueError as error:
            raise BulkDataError(Code.BAD_ARGUMENT) from error
    return keys


def _value_bytes(file: BinaryIO, header: Header, dataset: Dataset, tag: int) -> tuple[str, bytes]:
    places: Mapping[int, ElementPlace] = getattr(dataset, "places", {})
    place = places.get(tag)
    if place is not None:
        if place.length > MAX_BULK_BYTES:
            raise BulkDataError(Code.TOO_LARGE)
        source = parse.dataset_file(file, header)
        source.seek(place.offset)
        value = source.read(place.length)
        if len(value) != place.length:
            raise RejectedError(Code.TRUNCATED)
        return place.vr, little_endian(value, place.vr, place.is_little_endian)
    if tag not in dataset:
        raise BulkDataError(Code.NO_SUCH_ELEMENT)
    element = dataset.get_item(tag)
    if not isinstance(element, (DataElement, RawDataElement)) or not isinstance(element.value, bytes):
        raise BulkDataError(Code.NO_SUCH_ELEMENT)
    vr = elements.element_vr(dataset, element)
    vr = _AMBIGUOUS.get(vr, vr)
    if vr not in elements.BINARY_VRS:
        raise BulkDataError(Code.NO_SUCH_ELEMENT)
    is_little_endian = element.is_little_endian if isinstance(element, RawDataElement) else True
    return vr, little_endian(element.value, vr, is_little_endian)
