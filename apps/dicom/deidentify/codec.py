"""Data sets as plain lists of elements whose values are bytes: read, walked and written without converting any.

De-identification touches a tenth of the elements of a file and must leave the others, byte for byte, as they are.
pydicom converts what it is asked for, which costs ten times as much and loses what it does not understand. So
elements are read here (PS3.5 section 7) and pydicom is asked for dictionaries and character sets only. What cannot
be read is an error; what is written holds nothing but the elements of the list.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from apps.dicom.elements import standard_vr
from apps.dicom.errors import Code, RejectedError
from apps.dicom.parse import MAX_DEPTH, MAX_ELEMENTS

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"

PIXEL_DATA: Final = 0x7FE00010
VIEW_BYTES: Final = 64 << 10
"""Longer values are views on the file, not copies."""

LONG_VRS: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
"""Value representations whose length takes four bytes (PS3.5 7.1.2)."""
_SHORT_VRS: Final = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
)  # fmt: skip
VRS: Final[dict[bytes, str]] = {name.encode(): name for name in (*LONG_VRS, *_SHORT_VRS)}
_LONG_CODES: Final = frozenset(name.encode() for name in LONG_VRS)
_LONG_NAMES: Final = frozenset(LONG_VRS)
_SPACE_PADDED: Final = frozenset(_SHORT_VRS) - {"AT", "FD", "FL", "SL", "SS", "UI", "UL", "US"} | {"UC", "UR", "UT"}
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD

Bytes = bytes | memoryview


class Fragments(NamedTuple):
    """Encapsulated pixel data (PS3.5 A.4): the offset table and the fragments, without their item heads."""

    table: Bytes
    parts: list[Bytes]


@dataclass(slots=True)
class Element:
    """One data element. ``value`` is bytes, a list of items for a sequence, or the fragments of pixels."""

    tag: int
    vr: str
    value: "bytes | memoryview | list[Item] | Fragments"


Item = list[Element]


class Syntax(NamedTuple):
    """How elements are encoded."""

    is_explicit: bool
    is_little: bool

    @classmethod
    def of(cls, transfer_syntax_uid: str) -> "Syntax":
        """Return the encoding of a transfer syntax; all but three are explicit VR little endian."""
        return cls(
            transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN,
            transfer_syntax_uid != EXPLICIT_VR_BIG_ENDIAN,
        )


IMPLICIT: Final = Syntax(is_explicit=False, is_little=True)
EXPLICIT: Final = Syntax(is_explicit=True, is_little=True)


class _Reader:
    def __init__(self, data: Bytes, syntax: Syntax, end: int) -> None:
        self.data = data
        self.view = memoryview(data)
        self.end = end
        self.count = 0
        order = "<" if syntax.is_little else ">"
        self.syntax = syntax
        self.tag = struct.Struct(order + "HH")
        self.head = struct.Struct(order + "HH2sH")
        self.implicit_head = struct.Struct(order + "HHI")
        self.long = struct.Struct(order + "I")

    def elements(  # noqa: C901, PLR0912, PLR0915 one loop over everything, for speed
        self, at: int, end: int, depth: int, *, is_delimited: bool, stop: int = 0, is_single: bool = False
    ) -> tuple[Item, int]:
        """Read elements from ``at`` to ``end`` or to an item delimiter; just one if ``is_single``."""
        if depth > MAX_DEPTH:
            raise RejectedError(Code.TOO_DEEP)
        data, view = self.data, self.view
        is_explicit = self.syntax.is_explicit
        head, implicit_head, long = self.head, self.implicit_head, self.long
        found: Item = []
        while at < end:
            if is_single and found:
                return found, at
            if at + 8 > end:
                if bytes(view[at:end]).strip(b"\0"):
                    raise RejectedError(Code.TRUNCATED)
                return found, end
            self.count += 1
            if self.count > MAX_ELEMENTS:
                raise RejectedError(Code.TOO_MANY_ELEMENTS)
            if is_explicit:
                group, element, code, length = head.unpack_from(data, at)
                tag = group << 16 | element
                vr = VRS.get(code)
                at += 8
                if vr is None or group == 0xFFFE:
                    if tag == _ITEM_END:
                        if is_delimited:
                            return found, at
                        raise RejectedError(Code.MALFORMED)
                    (length,) = long.unpack_from(data, at - 4)
                    if tag == 0 and not length and not bytes(view[at:end]).strip(b"\0"):
                        # Files filled up with zeros; they are not written again.
                        return found, end
                    if not (65 <= code[0] <= 90 and 65 <= code[1] <= 90):
                        # Some writers put implicit elements among explicit ones.
                        vr = standard_vr(tag)
                    else:
                        (_, length) = struct.unpack_from("<2sH" if self.syntax.is_little else ">2sH", data, at - 4)
                        vr = "UN"
                elif code in _LONG_CODES:
                    if at + 4 > end:
                        raise RejectedError(Code.TRUNCATED)
                    (length,) = long.unpack_from(data, at)
                    at += 4
            else:
                group, element, length = implicit_head.unpack_from(data, at)
                tag = group << 16 | element
                at += 8
                if tag == _ITEM_END:
                    if is_delimited:
                        return found, at
                    raise RejectedError(Code.MALFORMED)
                if tag == 0 and not length and not bytes(view[at:end]).strip(b"\0"):
                    return found, end
                vr = standard_vr(tag)
            if stop and tag >= stop:
                return found, at
            if length == _UNDEFINED:
                value, at = self._undefined(tag, vr, at, end, depth)
                if isinstance(value, list):
                    vr = "SQ"
                found.append(Element(tag, vr, value))
                continue
            if at + length > end:
                raise RejectedError(Code.TRUNCATED)
            if vr == "SQ":
                try:
                    items, _ = self.items(at, at + length, depth + 1, is_delimited=False)
                    found.append(Element(tag, vr, items))
                except RejectedError as error:
                    if error.code not in (Code.MALFORMED, Code.TRUNCATED):
                        raise
                    # Encoded otherwise than the rest, or no sequence at all: whoever asks for it may try.
                    found.append(Element(tag, "UN", data[at : at + length]))
            elif length > VIEW_BYTES:
                found.append(Element(tag, vr, view[at : at + length]))
            else:
                found.append(Element(tag, vr, data[at : at + length]))
            at += length
        if is_delimited:
            raise RejectedError(Code.TRUNCATED)
        return found, at

    def _undefined(self, tag: int, vr: str, at: int, end: int, depth: int) -> tuple[list[Item] | Fragments, int]:
        if tag == PIXEL_DATA or vr in ("OB", "OW"):
            return self.fragments(at, end)
        if vr == "UN" and self.syntax.is_explicit:
            # UN of undefined length is a sequence in implicit VR little endian (PS3.5 6.2.2 note 2) ...
            try:
                reader = _Reader(self.data, IMPLICIT, self.end)
                return reader.items(at, end, depth + 1, is_delimited=True)
            except RejectedError:
                pass  # ... in theory
        return self.items(at, end, depth + 1, is_delimited=True)

    def items(self, at: int, end: int, depth: int, *, is_delimited: bool) -> tuple[list[Item], int]:
        """Read the items of a sequence."""
        if depth > MAX_DEPTH:
            raise RejectedError(Code.TOO_DEEP)
        items: list[Item] = []
        while at < end:
            if at + 8 > end:
                raise RejectedError(Code.TRUNCATED)
            group, element, length = self.implicit_head.unpack_from(self.data, at)
            at += 8
            tag = group << 16 | element
            if tag == _SEQUENCE_END:
                if is_delimited:
                    return items, at
                continue
            if tag != _ITEM:
                raise RejectedError(Code.MALFORMED)
            self.count += 1
            if length == _UNDEFINED:
                item, at = self.elements(at, end, depth, is_delimited=True)
            else:
                if at + length > end:
                    raise RejectedError(Code.TRUNCATED)
                item, _ = self.elements(at, at + length, depth, is_delimited=False)
                at += length
            items.append(item)
        if is_delimited:
            raise RejectedError(Code.TRUNCATED)
        return items, at

    def fragments(self, at: int, end: int) -> tuple[Fragments, int]:
        """Read the items of encapsulated pixel data; a missing delimiter at the end of the file is forgiven."""
        table: Bytes | None = None
        parts: list[Bytes] = []
        while True:
            if at + 8 > end:
                if not parts:
                    raise RejectedError(Code.TRUNCATED)
                return Fragments(table or b"", parts), end
            group, element, length = self.implicit_head.unpack_from(self.data, at)
            at += 8
            tag = group << 16 | element
            if tag == _SEQUENCE_END:
                return Fragments(table or b"", parts), at
            if tag != _ITEM:
                raise RejectedError(Code.MALFORMED)
            if at + length > end:
                raise RejectedError(Code.TRUNCATED)
            part = self.view[at : at + length]
            at += length
            if table is None:
                table = bytes(part)
            else:
                self.count += 1
                if self.count > 5 * MAX_ELEMENTS:
                    raise RejectedError(Code.TOO_MANY_ELEMENTS)
                parts.append(part)


def read_elements(data: Bytes, syntax: Syntax, at: int = 0) -> tuple[Item, int]:
    """Read a data set that starts at ``at``; return it and where reading ended.

    Raises ``RejectedError``: ``truncated``, ``malformed``, ``too-deep`` or ``too-many-elements``. What follows the
    pixel data, or the last element of a data set without any, and is no element is left out.
    """
    reader = _Reader(data, syntax, len(data))
    try:
        return reader.elements(at, len(data), 0, is_delimited=False)
    except (RejectedError, struct.error) as error:
        found, end = _read_to_pixels(data, syntax, at)
        if found is None:
            found, end = _read_to_garbage(data, syntax, at)
        if found is None:
            raise error if isinstance(error, RejectedError) else RejectedError(Code.TRUNCATED) from error
        return found, end


def _read_to_garbage(data: Bytes, syntax: Syntax, at: int) -> tuple[Item | None, int]:
    """Read element by element up to one that cannot be one: its tag is unknown, or lower than the one before it."""
    reader = _Reader(data, syntax, len(data))
    found: Item = []
    while at < len(data):
        try:
            more, at = reader.elements(at, len(data), 0, is_delimited=False, is_single=True)
        except (RejectedError, struct.error):
            if at + 4 > len(data):
                return found, at
            return (None if not found or _may_be_element(reader, at, found) else found), at
        found += more
    return found, at


def _may_be_element(reader: _Reader, at: int, before: Item) -> bool:
    """Say whether the bytes at ``at`` may be the head of the element that follows ``before``."""
    data = reader.data
    group, element = reader.tag.unpack_from(data, at)
    tag = group << 16 | element
    if tag <= before[-1].tag:
        return False
    if reader.syntax.is_explicit and bytes(data[at + 4 : at + 6]) not in VRS:
        return False
    if not group & 1:
        return standard_vr(tag) != "UN"
    creator = group << 16 | element >> 8
    return element < 0x100 or any(one.tag == creator for one in before)


def _read_to_pixels(data: Bytes, syntax: Syntax, at: int) -> tuple[Item | None, int]:
    reader = _Reader(data, syntax, len(data))
    try:
        found, value_at = reader.elements(at, len(data), 0, is_delimited=False, stop=PIXEL_DATA)
    except RejectedError:
        return None, at
    if value_at >= len(data):
        return None, at
    length_at = value_at - 4
    (length,) = reader.long.unpack_from(data, length_at)
    if length == _UNDEFINED:
        value, end = reader.fragments(value_at, len(data))
        return [*found, Element(PIXEL_DATA, "OB", value)], end
    if value_at + length > len(data) or not length:
        return None, at
    return [*found, Element(PIXEL_DATA, "OW", reader.view[value_at : value_at + length])], value_at + length


def read_unknown_sequence(value: Bytes) -> list[Item] | None:
    """Read the value of a UN element that the dictionary calls a sequence: implicit VR, or what else fits."""
    for syntax in (IMPLICIT, EXPLICIT):
        try:
            items, _ = _Reader(value, syntax, len(value)).items(0, len(value), 1, is_delimited=False)
        except (RejectedError, struct.error):
            continue
        return items
    return None


def walk(item: Item, depth: int = 0) -> Iterator[tuple[Element, Item, int]]:
    """Visit each element at every depth, with the item that holds it and its depth."""
    for element in item:
        yield element, item, depth
        if type(element.value) is list:
            for child in element.value:
                yield from walk(child, depth + 1)


def write_elements(item: Item, syntax: Syntax, out: list[Bytes]) -> int:
    """Append the encoding of ``item`` to ``out``; sequences get defined lengths. Return how many bytes that is."""
    order = "<" if syntax.is_little else ">"
    tag_and_length = struct.Struct(order + "HHI").pack
    explicit_short = struct.Struct(order + "HH2sH").pack
    explicit_long = struct.Struct(order + "HH2sHI").pack
    total = 0
    append = out.append
    for element in item:
        value = element.value
        tag = element.tag
        vr = element.vr
        if type(value) is list:
            body: list[Bytes] = []
            length = _write_items(value, syntax, tag_and_length, body)
            vr = "SQ"
        elif type(value) is Fragments:
            body = []
            length = _write_fragments(value, tag_and_length, body)
            if syntax.is_explicit:
                append(explicit_long(tag >> 16, tag & 0xFFFF, b"OB", 0, _UNDEFINED))
                total += 12 + length
            else:
                append(tag_and_length(tag >> 16, tag & 0xFFFF, _UNDEFINED))
                total += 8 + length
            out += body
            continue
        else:
            length = len(value)
            body = [value]  # type: ignore[list-item]
            if length & 1:
                body.append(b" " if vr in _SPACE_PADDED else b"\0")
                length += 1
        if not syntax.is_explicit:
            append(tag_and_length(tag >> 16, tag & 0xFFFF, length))
            total += 8 + length
        else:
            if len(vr) != 2:
                vr = "OW" if "OW" in vr and length > 2 else "US"
            if vr in _LONG_NAMES or length > 0xFFFF:
                code = vr if vr in _LONG_NAMES else "UN"
                append(explicit_long(tag >> 16, tag & 0xFFFF, code.encode(), 0, length))
                total += 12 + length
            else:
                append(explicit_short(tag >> 16, tag & 0xFFFF, vr.encode(), length))
                total += 8 + length
        out += body
    return total


def _write_items(items: list[Item], syntax: Syntax, head: "struct._Pack", out: list[Bytes]) -> int:  # type: ignore[name-defined]
    total = 0
    for item in items:
        body: list[Bytes] = []
        length = write_elements(item, syntax, body)
        out.append(head(0xFFFE, 0xE000, length))
        out += body
        total += 8 + length
    return total


def _write_fragments(value: Fragments, head: "struct._Pack", out: list[Bytes]) -> int:  # type: ignore[name-defined]
    total = 0
    for part in (value.table, *value.parts):
        odd = len(part) & 1
        out += (head(0xFFFE, 0xE000, len(part) + odd), part)
        if odd:
            out.append(b"\0")
        total += 8 + len(part) + odd
    out.append(head(0xFFFE, 0xE0DD, 0))
    return total + 8
