"""DICOM files put together byte by byte, so that any of them can lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping

from tests.dicom.files import UNDEFINED, element, item
from tests.hostile.cases import uid_for

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
MPEG4 = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

Elements = dict[int, bytes]


def text(tag: int, vr: str, value: str | bytes) -> bytes:
    """An element of text, padded to an even length."""
    data = value if isinstance(value, bytes) else value.encode("latin-1")
    return element(tag, vr, data + (b"\0" if vr == "UI" else b" ") * (len(data) % 2))


def number(tag: int, value: int) -> bytes:
    """An element of VR US."""
    return element(tag, "US", struct.pack("<H", value))


def image(name: str, **sizes: int) -> Elements:
    """The elements of a harmless grey image of 8 x 8 pixels, by tag, to be changed."""
    return {
        0x00080016: text(0x00080016, "UI", SECONDARY_CAPTURE),
        0x00080018: text(0x00080018, "UI", uid_for(name)),
        0x00080060: text(0x00080060, "CS", "OT"),
        0x00100010: text(0x00100010, "PN", "Hostile^Corpus"),
        0x00100020: text(0x00100020, "LO", "HOSTILE-1"),
        0x0020000D: text(0x0020000D, "UI", uid_for("corpus", "study")),
        0x0020000E: text(0x0020000E, "UI", uid_for("corpus", "series")),
        0x00280002: number(0x00280002, sizes.get("samples", 1)),
        0x00280004: text(0x00280004, "CS", "MONOCHROME2"),
        0x00280010: number(0x00280010, sizes.get("rows", 8)),
        0x00280011: number(0x00280011, sizes.get("columns", 8)),
        0x00280100: number(0x00280100, sizes.get("bits", 8)),
        0x00280101: number(0x00280101, sizes.get("bits", 8)),
        0x00280102: number(0x00280102, sizes.get("bits", 8) - 1),
        0x00280103: number(0x00280103, 0),
        0x7FE00010: element(0x7FE00010, "OB", bytes(range(64))),
    }


def joined(elements: Mapping[int, bytes]) -> bytes:
    """The data set, in the order of its tags."""
    return b"".join(data for _tag, data in sorted(elements.items()))


def meta(name: str, syntax: str = EXPLICIT, *, sop_class: str = SECONDARY_CAPTURE, uid: str = "") -> bytes:
    """The file meta information, its length right."""
    rest = b"".join(
        (
            element(0x00020001, "OB", b"\0\1"),
            text(0x00020002, "UI", sop_class),
            text(0x00020003, "UI", uid or uid_for(name)),
            text(0x00020010, "UI", syntax),
            text(0x00020012, "UI", "1.2.3.4"),
        )
    )
    return element(0x00020000, "UL", struct.pack("<I", len(rest))) + rest


def part10(name: str, dataset: bytes, syntax: str = EXPLICIT, *, preamble: bytes = b"", **of_meta: str) -> bytes:
    """A whole file."""
    return preamble[:128].ljust(128, b"\0") + b"DICM" + meta(name, syntax, **of_meta) + dataset


def changed(name: str, *changes: tuple[int, bytes], syntax: str = EXPLICIT, **sizes: int) -> bytes:
    """A harmless image with these elements instead of its own (empty: without it)."""
    elements = image(name, **sizes)
    for tag, data in changes:
        if data:
            elements[tag] = data
        else:
            elements.pop(tag, None)
    return part10(name, joined(elements), syntax)


def encapsulated(
    name: str, fragments: Iterable[bytes], syntax: str = JPEG, *, table: bytes = b"", frames: str = "", **sizes: int
) -> bytes:
    """A file of compressed pixels with exactly these fragments and this offset table."""
    elements = image(name, **sizes)
    if frames:
        elements[0x00280008] = text(0x00280008, "IS", frames)
    chain = item(table) + b"".join(map(item, fragments)) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    elements[0x7FE00010] = element(0x7FE00010, "OB", chain, UNDEFINED)
    return part10(name, joined(elements), syntax)


def deflated(name: str, dataset: bytes, level: int = 9) -> bytes:
    """A file whose data set is deflated."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return part10(name, packer.compress(dataset) + packer.flush(), DEFLATED)


def implicit(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """A data set in Implicit VR Little Endian."""
    return b"".join(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value for tag, value in elements)


def plain(name: str) -> list[tuple[int, bytes]]:
    """Tag and bare value of each element of the harmless image."""
    values = []
    for tag, data in sorted(image(name).items()):
        is_long = data[4:6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        values.append((tag, data[12 if is_long else 8 :]))
    return values


def big_endian(elements: Iterable[tuple[int, bytes]], source: Mapping[int, bytes]) -> bytes:
    """The data set in Explicit VR Big Endian; values of two bytes are swapped."""
    out = b""
    for tag, value in elements:
        vr = source[tag][4:6]
        swapped = value[::-1] if vr == b"US" else value
        head = struct.pack(">HH2s", tag >> 16, tag & 0xFFFF, vr)
        out += head + (struct.pack(">HI", 0, len(value)) if vr == b"OB" else struct.pack(">H", len(value))) + swapped
    return out
